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
  | rewrite mulf_neq0 //; other_than_zero ].
Ltac by_ring := first [ by [] | ring ].
Ltac by_field := first [ by [] | ring | field; repeat split; other_than_zero ].
Ltac entries := apply/matrixP => ? ?; rewrite ?(entry_add, entry_opp, entry_scale, entry_zero); forget_traces; forget_entries.
Ltac matrix_by_ring := first [ by [] | entries; by_ring ].
Ltac matrix_by_field := first [ by [] | entries; by_field ].
