(* What the generated proofs use: how words of matrices are expanded, turned, cut and compared. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring lra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.Theory.
Local Open Scope ring_scope.

Section Words.
Variable R : comRingType.

(* Expansion, one operation at a time. *)
Lemma transpose_add m n (A B : 'M[R]_(m, n)) : (A + B)^T = A^T + B^T. Proof. exact: raddfD. Qed.
Lemma transpose_opp m n (A : 'M[R]_(m, n)) : (- A)^T = - A^T. Proof. exact: raddfN. Qed.
Lemma transpose_scale m n a (A : 'M[R]_(m, n)) : (a *: A)^T = a *: A^T. Proof. exact: linearZ. Qed.
Lemma transpose_mul m n p (A : 'M[R]_(m, n)) (B : 'M[R]_(n, p)) : (A *m B)^T = B^T *m A^T. Proof. exact: trmx_mul. Qed.
Lemma transpose_one n : (1%:M : 'M[R]_n)^T = 1%:M. Proof. exact: trmx1. Qed.
Lemma transpose_zero m n : (0 : 'M[R]_(m, n))^T = 0. Proof. exact: trmx0. Qed.
Lemma trace_opp n (A : 'M[R]_n) : \tr (- A) = - \tr A. Proof. exact: raddfN. Qed.
Lemma entry_add m n (A B : 'M[R]_(m, n)) i j : (A + B) i j = A i j + B i j. Proof. by rewrite mxE. Qed.
Lemma entry_opp m n (A : 'M[R]_(m, n)) i j : (- A) i j = - A i j. Proof. by rewrite mxE. Qed.
Lemma entry_scale m n a (A : 'M[R]_(m, n)) i j : (a *: A) i j = a * A i j. Proof. by rewrite mxE. Qed.
Lemma entry_zero m n i j : (0 : 'M[R]_(m, n)) i j = 0. Proof. by rewrite mxE. Qed.

(* The trace of a product of sums, at its top only. *)
Lemma trace_add_left m n (A B : 'M[R]_(m, n)) C : \tr ((A + B) *m C) = \tr (A *m C) + \tr (B *m C).
Proof. by rewrite mulmxDl mxtraceD. Qed.
Lemma trace_add_right m n (A : 'M[R]_(m, n)) B C : \tr (A *m (B + C)) = \tr (A *m B) + \tr (A *m C).
Proof. by rewrite mulmxDr mxtraceD. Qed.
Lemma trace_scale_left m n a (A : 'M[R]_(m, n)) B : \tr ((a *: A) *m B) = a * \tr (A *m B).
Proof. by rewrite -scalemxAl mxtraceZ. Qed.
Lemma trace_scale_right m n a (A : 'M[R]_(m, n)) B : \tr (A *m (a *: B)) = a * \tr (A *m B).
Proof. by rewrite -scalemxAr mxtraceZ. Qed.

(* A trace does not change when its word is turned or transposed. *)
Lemma turn m n (A : 'M[R]_(m, n)) (B : 'M[R]_(n, m)) V W : A *m B = V -> B *m A = W -> \tr V = \tr W.
Proof. by move=> <- <-; exact: mxtrace_mulC. Qed.
Lemma flip n (V W : 'M[R]_n) : V^T = W -> \tr V = \tr W. Proof. by move=> <-; rewrite mxtrace_tr. Qed.

(* What passes through dimension one is a scalar. *)
Lemma one_by_one (S : 'M[R]_1) : S = \tr S *: 1%:M.
Proof. by rewrite [LHS]mx11_scalar [in RHS]trace_mx11 scalemx1. Qed.
Lemma cut_right m (A : 'M[R]_(m, 1)) (S : 'M[R]_1) : A *m S = \tr S *: A.
Proof. by rewrite {1}[S]one_by_one -scalemxAr mulmx1. Qed.
Lemma cut_left n (A : 'M[R]_(1, n)) (S : 'M[R]_1) : S *m A = \tr S *: A.
Proof. by rewrite {1}[S]one_by_one -scalemxAl mul1mx. Qed.
Lemma cut_trace (S T : 'M[R]_1) : \tr (S *m T) = \tr S * \tr T. Proof. by rewrite cut_right mxtraceZ mulrC. Qed.
Lemma by_trace (S T : 'M[R]_1) : \tr S = \tr T -> S = T. Proof. by move=> E; rewrite [S]one_by_one E -one_by_one. Qed.
End Words.

(* A matrix as a list of coefficients and words, built from left to right without any rewriting: what the names end in is
   what stands on the right, T for transposed. *)
Section Lists.
Variable R : comRingType.
Definition list_of m n := seq (R * 'M[R]_(m, n)).
Fixpoint sum_of m n (l : list_of m n) : 'M[R]_(m, n) := if l is x :: l' then x.1 *: x.2 + sum_of l' else 0.
Fixpoint trace_of n (l : list_of n n) : R := if l is x :: l' then x.1 * \tr x.2 + trace_of l' else 0.
Fixpoint times_of m n (c : R) (l : list_of m n) : list_of m n := if l is x :: l' then (c * x.1, x.2) :: times_of c l' else [::].
Fixpoint then_of m n p (l : list_of m n) (B : 'M[R]_(n, p)) : list_of m p :=
  if l is x :: l' then (x.1, x.2 *m B) :: then_of l' B else [::].
Fixpoint join_of m n (l k : list_of m n) : list_of m n := if l is x :: l' then x :: join_of l' k else k.

Lemma sum_join m n (l k : list_of m n) : sum_of (join_of l k) = sum_of l + sum_of k.
Proof. by elim: l => [|x l IH] /=; rewrite ?add0r // IH addrA. Qed.
Lemma sum_times m n c (l : list_of m n) : sum_of (times_of c l) = c *: sum_of l.
Proof. by elim: l => [|x l IH] /=; rewrite ?scaler0 // IH scalerDr scalerA. Qed.
Lemma sum_then m n p (l : list_of m n) (B : 'M[R]_(n, p)) : sum_of (then_of l B) = sum_of l *m B.
Proof. by elim: l => [|x l IH] /=; rewrite ?mul0mx // IH mulmxDl scalemxAl. Qed.
Lemma trace_sum n (A : 'M[R]_n) (l : list_of n n) : A = sum_of l -> \tr A = trace_of l.
Proof. by move=> ->; elim: l => [|x l IH] /=; rewrite ?mxtrace0 // mxtraceD mxtraceZ IH. Qed.

Section First.
Variables m n : nat.
Implicit Types (A B : 'M[R]_(m, n)) (l k : list_of m n).
Lemma l_letter A : A = sum_of [:: (1, A)]. Proof. by rewrite /= scale1r addr0. Qed.
Lemma l_zero : (0 : 'M[R]_(m, n)) = sum_of [::]. Proof. by []. Qed.
Lemma l_add A B l k : A = sum_of l -> B = sum_of k -> A + B = sum_of (join_of l k).
Proof. by move=> -> ->; rewrite sum_join. Qed.
Lemma l_opp A l : A = sum_of l -> - A = sum_of (times_of (-1) l). Proof. by move=> ->; rewrite sum_times scaleN1r. Qed.
Lemma l_sub A B l k : A = sum_of l -> B = sum_of k -> A - B = sum_of (join_of l (times_of (-1) k)).
Proof. by move=> EA EB; apply: l_add => //; apply: l_opp. Qed.
Lemma l_scale c A l : A = sum_of l -> c *: A = sum_of (times_of c l). Proof. by move=> ->; rewrite sum_times. Qed.
End First.
Section FirstTurned.
Variables m n : nat.
Implicit Types (A B : 'M[R]_(n, m)) (l k : list_of m n).
Lemma l_zeroT : (0 : 'M[R]_(n, m))^T = sum_of ([::] : list_of m n). Proof. exact: trmx0. Qed.
Lemma l_addT A B l k : A^T = sum_of l -> B^T = sum_of k -> (A + B)^T = sum_of (join_of l k).
Proof. by rewrite transpose_add; apply: l_add. Qed.
Lemma l_oppT A l : A^T = sum_of l -> (- A)^T = sum_of (times_of (-1) l). Proof. by rewrite transpose_opp; apply: l_opp. Qed.
Lemma l_subT A B l k : A^T = sum_of l -> B^T = sum_of k -> (A - B)^T = sum_of (join_of l (times_of (-1) k)).
Proof. by rewrite transpose_add transpose_opp; apply: l_sub. Qed.
Lemma l_scaleT c A l : A^T = sum_of l -> (c *: A)^T = sum_of (times_of c l). Proof. by rewrite transpose_scale; apply: l_scale. Qed.
Lemma l_mulT p (C : 'M[R]_(n, p)) (D : 'M[R]_(p, m)) l : D^T *m C^T = sum_of l -> (C *m D)^T = sum_of l.
Proof. by rewrite transpose_mul. Qed.
Lemma l_TT (A : 'M[R]_(m, n)) l : A = sum_of l -> A^T^T = sum_of l. Proof. by rewrite trmxK. Qed.
End FirstTurned.
Lemma l_one n : (1%:M : 'M[R]_n) = sum_of [:: (1, 1%:M)]. Proof. exact: l_letter. Qed.
Lemma l_oneT n : (1%:M : 'M[R]_n)^T = sum_of [:: (1, 1%:M)]. Proof. by rewrite trmx1; exact: l_letter. Qed.
Lemma l_same n (S : 'M[R]_n) l : S^T = S -> S = sum_of l -> S^T = sum_of l. Proof. by move=> ->. Qed.

Section Next.
Variables (m n p : nat) (X : 'M[R]_(m, n)).
Implicit Types (A B : 'M[R]_(n, p)) (l k : list_of m p).
Lemma m_letter h A : X = sum_of h -> X *m A = sum_of (then_of h A). Proof. by move=> ->; rewrite sum_then. Qed.
Lemma m_zero : X *m (0 : 'M[R]_(n, p)) = sum_of [::]. Proof. exact: mulmx0. Qed.
Lemma m_add A B l k : X *m A = sum_of l -> X *m B = sum_of k -> X *m (A + B) = sum_of (join_of l k).
Proof. by rewrite mulmxDr; apply: l_add. Qed.
Lemma m_opp A l : X *m A = sum_of l -> X *m (- A) = sum_of (times_of (-1) l). Proof. by rewrite mulmxN; apply: l_opp. Qed.
Lemma m_sub A B l k : X *m A = sum_of l -> X *m B = sum_of k -> X *m (A - B) = sum_of (join_of l (times_of (-1) k)).
Proof. by rewrite mulmxBr; apply: l_sub. Qed.
Lemma m_scale c A l : X *m A = sum_of l -> X *m (c *: A) = sum_of (times_of c l).
Proof. by rewrite -scalemxAr; apply: l_scale. Qed.
Lemma m_mul q (C : 'M[R]_(n, q)) (D : 'M[R]_(q, p)) l : X *m C *m D = sum_of l -> X *m (C *m D) = sum_of l.
Proof. by rewrite mulmxA. Qed.
End Next.
Section NextTurned.
Variables (m n p : nat) (X : 'M[R]_(m, n)).
Implicit Types (A B : 'M[R]_(p, n)) (l k : list_of m p).
Lemma m_zeroT : X *m (0 : 'M[R]_(p, n))^T = sum_of [::]. Proof. by rewrite trmx0 mulmx0. Qed.
Lemma m_addT A B l k : X *m A^T = sum_of l -> X *m B^T = sum_of k -> X *m (A + B)^T = sum_of (join_of l k).
Proof. by rewrite transpose_add; apply: m_add. Qed.
Lemma m_oppT A l : X *m A^T = sum_of l -> X *m (- A)^T = sum_of (times_of (-1) l).
Proof. by rewrite transpose_opp; apply: m_opp. Qed.
Lemma m_subT A B l k : X *m A^T = sum_of l -> X *m B^T = sum_of k -> X *m (A - B)^T = sum_of (join_of l (times_of (-1) k)).
Proof. by rewrite transpose_add transpose_opp; apply: m_sub. Qed.
Lemma m_scaleT c A l : X *m A^T = sum_of l -> X *m (c *: A)^T = sum_of (times_of c l).
Proof. by rewrite transpose_scale; apply: m_scale. Qed.
Lemma m_mulT q (C : 'M[R]_(p, q)) (D : 'M[R]_(q, n)) l : X *m D^T *m C^T = sum_of l -> X *m (C *m D)^T = sum_of l.
Proof. by rewrite transpose_mul mulmxA. Qed.
Lemma m_TT (A : 'M[R]_(n, p)) l : X *m A = sum_of l -> X *m A^T^T = sum_of l. Proof. by rewrite trmxK. Qed.
End NextTurned.
Lemma m_one m n (X : 'M[R]_(m, n)) l : X = sum_of l -> X *m (1%:M : 'M[R]_n) = sum_of l. Proof. by rewrite mulmx1. Qed.
Lemma m_oneT m n (X : 'M[R]_(m, n)) l : X = sum_of l -> X *m (1%:M : 'M[R]_n)^T = sum_of l.
Proof. by rewrite trmx1 mulmx1. Qed.
Lemma m_same m n (X : 'M[R]_(m, n)) (S : 'M[R]_n) l : S^T = S -> X *m S = sum_of l -> X *m S^T = sum_of l.
Proof. by move=> ->. Qed.
End Lists.
Ltac listed := cbn [sum_of trace_of times_of then_of join_of fst snd]; rewrite ?(mul1mx, mxtrace1).

Section Signs.
Variable R : realFieldType.
Lemma square_ge0 m n (A : 'M[R]_(m, n)) : 0 <= \tr (A^T *m A).
Proof.
rewrite /mxtrace; apply: sumr_ge0 => i _; rewrite mxE; apply: sumr_ge0 => j _; by rewrite mxE -expr2 sqr_ge0.
Qed.
Lemma size_gt0 n : (0 < n)%N -> 0 < n%:R :> R. Proof. by rewrite ltr0n. Qed.
Lemma gap_ge0 (x y : R) : x <= y -> 0 <= y - x. Proof. by rewrite subr_ge0. Qed.
Lemma by_gap (x y : R) : 0 <= y - x -> x <= y. Proof. by rewrite subr_ge0. Qed.
End Signs.

Ltac expand_once := rewrite ?(transpose_add, transpose_opp, transpose_scale, transpose_mul, trmxK, transpose_one,
  transpose_zero, mulmxDl, mulmxDr, mulNmx, mulmxN, mulmx1, mul1mx, mul0mx, mulmx0) -?(scalemxAl, scalemxAr)
  ?(scalerDr, scalerN, scalerA, scaler0, mulmxA).
Ltac expand := repeat progress expand_once.
Ltac split_traces := rewrite ?(mxtraceD, trace_opp, mxtraceZ, mxtrace0, mxtrace1).
Ltac forget_traces := repeat match goal with |- context [mxtrace ?A] => move: (mxtrace A) => ? end.
Ltac forget_entries := repeat match goal with |- context [fun_of_matrix ?A ?i ?j] => move: (fun_of_matrix A i j) => ? end.

Ltac positive := solve [ repeat first [ assumption | apply: addr_gt0 | apply: mulr_gt0 | apply: divr_gt0
  | apply: exprn_gt0 | rewrite invr_gt0 | rewrite ltr0n | exact: ltr01 | apply: size_gt0 | done ] | lra | nra ].
Ltac nonnegative := solve [ repeat first [ assumption | apply: sqr_ge0 | apply: addr_ge0 | apply: mulr_ge0
  | apply: divr_ge0 | apply: exprn_ge0 | rewrite invr_ge0 | rewrite ler0n | exact: ler01
  | apply: ltW; assumption | apply: ltW; apply: size_gt0; assumption | done ] | apply: ltW; positive | lra | nra ].
(* Cheap ways first: positive may search long before it fails. *)
Ltac other_than_zero := repeat (apply/andP; split); first
  [ assumption
  | match goal with N : is_true (?x != 0) |- is_true (?y != 0) =>
      first [ (have -> : y = x by ring); exact: N | (have -> : y = - x by ring); rewrite oppr_eq0; exact: N ] end
  | apply: lt0r_neq0; positive | rewrite -oppr_eq0; apply: lt0r_neq0; positive
  | apply: lt0r_neq0; first [apply: ltr_wpDl; [nonnegative | positive] | apply: ltr_wpDr; [nonnegative | positive]]
  | rewrite mulf_neq0 //; other_than_zero ].
Ltac by_ring := first [ by [] | ring ].
Ltac by_field := first [ by [] | ring | field; repeat split; other_than_zero ].
Ltac entries := apply/matrixP => ? ?; rewrite ?(entry_add, entry_opp, entry_scale, entry_zero); forget_traces; forget_entries.
Ltac matrix_by_ring := first [ by [] | entries; by_ring ].
Ltac matrix_by_field := first [ by [] | entries; by_field ].
