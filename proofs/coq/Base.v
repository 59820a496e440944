(* What the generated proofs use: how words of matrices are expanded, turned, cut and compared. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring lra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.Theory.
Local Open Scope ring_scope.

Section Words.
Variable R : realFieldType.

(* Expansion, one operation at a time. *)
Lemma transpose_add m n (A B : 'M[R]_(m, n)) : (A + B)^T = A^T + B^T. Proof. exact: raddfD. Qed.
Lemma transpose_opp m n (A : 'M[R]_(m, n)) : (- A)^T = - A^T. Proof. exact: raddfN. Qed.
Lemma transpose_scale m n a (A : 'M[R]_(m, n)) : (a *: A)^T = a *: A^T. Proof. exact: linearZ. Qed.
Lemma transpose_mul m n p (A : 'M[R]_(m, n)) (B : 'M[R]_(n, p)) : (A *m B)^T = B^T *m A^T. Proof. exact: trmx_mul. Qed.
Lemma transpose_one n : (1%:M : 'M[R]_n)^T = 1%:M. Proof. exact: trmx1. Qed.
Lemma transpose_zero m n : (0 : 'M[R]_(m, n))^T = 0. Proof. exact: trmx0. Qed.
Lemma trace_opp n (A : 'M[R]_n) : \tr (- A) = - \tr A. Proof. exact: raddfN. Qed.
Lemma entry_add m n (A B : 'M[R]_(m, n)) i j a b : A i j = a -> B i j = b -> (A + B) i j = a + b.
Proof. by rewrite mxE => -> ->. Qed.
Lemma entry_opp m n (A : 'M[R]_(m, n)) i j a : A i j = a -> (- A) i j = - a. Proof. by rewrite mxE => ->. Qed.
Lemma entry_scale m n c (A : 'M[R]_(m, n)) i j a : A i j = a -> (c *: A) i j = c * a. Proof. by rewrite mxE => ->. Qed.
Lemma entry_zero m n i j : (0 : 'M[R]_(m, n)) i j = 0. Proof. by rewrite mxE. Qed.
Lemma entry_known m n (A B : 'M[R]_(m, n)) i j a : A = B -> B i j = a -> A i j = a. Proof. by move=> ->. Qed.
Lemma value_add (x y a b : R) : x = a -> y = b -> x + y = a + b. Proof. by move=> -> ->. Qed.
Lemma value_mul (x y a b : R) : x = a -> y = b -> x * y = a * b. Proof. by move=> -> ->. Qed.
Lemma value_opp (x a : R) : x = a -> - x = - a. Proof. by move=> ->. Qed.
Lemma value_inv (x a : R) : x = a -> x^-1 = a^-1. Proof. by move=> ->. Qed.
Lemma first_only (x : R) : 1 * x + 0 = x. Proof. by rewrite mul1r addr0. Qed.
Lemma value_exp n (x a : R) : x = a -> x ^+ n = a ^+ n. Proof. by move=> ->. Qed.

(* The trace of a product, row by row of a sum on the left. *)
Lemma rows_add m n (A B : 'M[R]_(m, n)) C a b : \tr (A *m C) = a -> \tr (B *m C) = b -> \tr ((A + B) *m C) = a + b.
Proof. by move=> <- <-; rewrite mulmxDl mxtraceD. Qed.
Lemma rows_scale m n c (A : 'M[R]_(m, n)) C a : \tr (A *m C) = a -> \tr ((c *: A) *m C) = c * a.
Proof. by move=> <-; rewrite -scalemxAl mxtraceZ. Qed.
Lemma rows_zero m n (C : 'M[R]_(n, m)) : \tr ((0 : 'M[R]_(m, n)) *m C) = 0. Proof. by rewrite mul0mx mxtrace0. Qed.

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
Variable R : realFieldType.
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
Lemma one_word m n (A B : 'M[R]_(m, n)) : A = sum_of [:: (1, B)] -> A = B. Proof. by rewrite /= scale1r addr0. Qed.

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

(* Signs by the structure of a term: to try lemmas in turn would unfold numbers. *)
Ltac at_least_zero := first [ assumption | lazymatch goal with |- is_true (0 <= ?x) => lazymatch x with
  | GRing.add _ _ => apply: addr_ge0; at_least_zero
  | GRing.mul _ _ => apply: mulr_ge0; at_least_zero
  | GRing.inv _ => rewrite invr_ge0; at_least_zero
  | GRing.exp _ 2 => exact: sqr_ge0
  | GRing.exp _ _ => apply: exprn_ge0; at_least_zero
  | GRing.natmul _ _ => exact: ler0n
  | GRing.one _ => exact: ler01
  | GRing.zero _ => exact: lexx
  | _ => apply: ltW; assumption end end ].
Ltac above_zero := first [ assumption | lazymatch goal with |- is_true (0 < ?x) => lazymatch x with
  | GRing.add _ _ => first [ apply: ltr_wpDl; [at_least_zero | above_zero] | apply: ltr_wpDr; [at_least_zero | above_zero] ]
  | GRing.mul _ _ => apply: mulr_gt0; above_zero
  | GRing.inv _ => rewrite invr_gt0; above_zero
  | GRing.exp _ _ => apply: exprn_gt0; above_zero
  | GRing.natmul _ _ => first [ apply: size_gt0; assumption | by rewrite ltr0n ]
  | GRing.one _ => exact: ltr01 end end ].
Ltac positive := solve [ above_zero | lra | nra ].
Ltac nonnegative := solve [ at_least_zero | lra | nra ].
(* Cheap ways first: positive may search long before it fails. *)
Ltac other_than_zero := repeat (apply/andP; split); first
  [ assumption
  | match goal with N : is_true (?x != 0) |- is_true (?y != 0) =>
      first [ (have -> : y = x by ring); exact: N | (have -> : y = - x by ring); rewrite oppr_eq0; exact: N ] end
  | apply: lt0r_neq0; positive | rewrite -oppr_eq0; apply: lt0r_neq0; positive
  | rewrite mulf_neq0 //; other_than_zero ].
(* Only by looks: `by []` would try to tell two long sums apart. *)
Ltac same := match goal with |- ?x = ?y => constr_eq x y; reflexivity end.
Ltac one_term := match goal with |- 1 * ?x + 0 = ?y => constr_eq x y; exact: first_only end.
Ltac by_ring := first [ same | one_term | ring ].
Ltac by_field := first [ same | one_term | ring | field; repeat split; other_than_zero ].
(* What is known of the traces in a scalar and of the words in a matrix is put in by a term that follows its structure,
   and found among the hypotheses by its looks: to rewrite would compare every two parts of a long sum. *)
Ltac value_of x := lazymatch x with
  | GRing.add ?a ?b => let p := value_of a in let q := value_of b in uconstr:(value_add p q)
  | GRing.mul ?a ?b => let p := value_of a in let q := value_of b in uconstr:(value_mul p q)
  | GRing.opp ?a => let p := value_of a in uconstr:(value_opp p)
  | GRing.inv ?a => let p := value_of a in uconstr:(value_inv p)
  | GRing.exp ?a ?n => let p := value_of a in uconstr:(value_exp n p)
  | mxtrace ?A => match goal with E : mxtrace A = _ |- _ => uconstr:(E) | _ => uconstr:(erefl _) end
  | _ => uconstr:(erefl _) end.
Ltac values := match goal with |- ?x = ?y =>
  let p := value_of x in let q := value_of y in refine (etrans p (etrans _ (esym q))) end.
Ltac rows_of M C := lazymatch M with
  | GRing.add ?A ?B => let p := rows_of A C in let q := rows_of B C in uconstr:(rows_add p q)
  | GRing.scale ?c ?A => let p := rows_of A C in uconstr:(rows_scale c p)
  | GRing.zero => uconstr:(rows_zero C)
  | _ => match goal with E : mxtrace (mulmx M C) = _ |- _ => uconstr:(E) end end.
Ltac rows := match goal with |- mxtrace (mulmx ?M ?C) = _ => let p := rows_of M C in refine (etrans p _) end.
Ltac entry_by leaf M := lazymatch M with
  | GRing.add ?A ?B => let p := entry_by leaf A in let q := entry_by leaf B in uconstr:(entry_add p q)
  | GRing.opp ?A => let p := entry_by leaf A in uconstr:(entry_opp p)
  | GRing.scale ?c ?A => let p := entry_by leaf A in uconstr:(entry_scale c p)
  | GRing.zero => uconstr:(entry_zero _ _ _)
  | _ => leaf M end.
Ltac as_it_is M := uconstr:(erefl _).
Ltac as_known M := match goal with
  | E : M = ?N |- _ => let p := entry_by as_it_is N in uconstr:(entry_known E p)
  | _ => uconstr:(erefl _) end.
Ltac entries := apply/matrixP => ? ?; match goal with |- fun_of_matrix ?M _ _ = fun_of_matrix ?N _ _ =>
  let p := entry_by as_known M in let q := entry_by as_known N in refine (etrans p (etrans _ (esym q))) end;
  values; forget_traces; forget_entries.
