(* Theorem A, end to end: at a second-order point X of rank r of f(A B^T) + (lam/2)(|A|^2 + |B|^2), restricted strong
   convexity with alpha, and beta < 2 alpha t with t^2 = r/r_star, leave only X = Xstar.

   Decompositions are hypotheses, as they come from singular value decompositions: of X, of Xstar, of the part of Xstar
   off X, and of the part S = Z + K of the gradient off X, cut at lam. "|C|_2 <= c" is written with vectors. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring lra.
Require Import Base.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.Theory.
Local Open Scope ring_scope.

Section TheoremA.
Variable R : rcfType.

Definition inner m n (A B : 'M[R]_(m, n)) : R := \tr (A^T *m B).
Definition norm2 m n (A : 'M[R]_(m, n)) : R := inner A A.
(* The largest singular value of C is at most c. *)
Definition spectral_le m n (C : 'M[R]_(m, n)) (c : R) :=
  forall (u : 'M[R]_(m, 1)) (v : 'M[R]_(n, 1)), 2%:R * inner u (C *m v) <= c * (norm2 u + norm2 v).

Lemma innerC m n (A B : 'M[R]_(m, n)) : inner A B = inner B A.
Proof. by rewrite /inner -mxtrace_tr trmx_mul trmxK. Qed.
Lemma innerDl m n (A B C : 'M[R]_(m, n)) : inner (A + B) C = inner A C + inner B C.
Proof. by rewrite /inner raddfD /= mulmxDl mxtraceD. Qed.
Lemma innerNl m n (A B : 'M[R]_(m, n)) : inner (- A) B = - inner A B.
Proof. by rewrite /inner [(- A)^T]raddfN mulNmx [\tr (- _)]raddfN. Qed.
Lemma innerZl m n a (A B : 'M[R]_(m, n)) : inner (a *: A) B = a * inner A B.
Proof. by rewrite /inner linearZ /= -scalemxAl mxtraceZ. Qed.
Lemma innerDr m n (A B C : 'M[R]_(m, n)) : inner C (A + B) = inner C A + inner C B.
Proof. by rewrite innerC innerDl !(innerC _ C). Qed.
Lemma innerNr m n (A B : 'M[R]_(m, n)) : inner A (- B) = - inner A B.
Proof. by rewrite innerC innerNl innerC. Qed.
Lemma innerZr m n a (A B : 'M[R]_(m, n)) : inner A (a *: B) = a * inner A B.
Proof. by rewrite innerC innerZl innerC. Qed.
Lemma inner_move m n p (A : 'M[R]_(m, n)) (B : 'M[R]_(m, p)) (C : 'M[R]_(p, n)) :
  inner A (B *m C) = inner (B^T *m A) C.
Proof. by rewrite /inner trmx_mul trmxK mulmxA. Qed.
Lemma inner_move_right m n p (A : 'M[R]_(m, n)) (B : 'M[R]_(m, p)) (C : 'M[R]_(p, n)) :
  inner A (B *m C) = inner (A *m C^T) B.
Proof. by rewrite /inner trmx_mul trmxK mulmxA mxtrace_mulC mulmxA. Qed.
Lemma inner0l m n (A : 'M[R]_(m, n)) : inner 0 A = 0. Proof. by rewrite /inner trmx0 mul0mx mxtrace0. Qed.
Lemma norm2_ge0 m n (A : 'M[R]_(m, n)) : 0 <= norm2 A. Proof. exact: square_ge0. Qed.
Lemma norm2E m n (A : 'M[R]_(m, n)) : norm2 A = \sum_(j < n) \sum_(i < m) A i j ^+ 2.
Proof.
rewrite /norm2 /inner /mxtrace; apply: eq_bigr => j _; rewrite mxE; apply: eq_bigr => i _; by rewrite mxE expr2.
Qed.
Lemma norm2_col m n (A : 'M[R]_(m, n)) : norm2 A = \sum_(j < n) norm2 (col j A).
Proof.
rewrite norm2E; apply: eq_bigr => j _; rewrite norm2E big_ord_recl big_ord0 addr0; apply: eq_bigr => i _; by rewrite mxE.
Qed.
Lemma norm2_eq0 m n (A : 'M[R]_(m, n)) : norm2 A <= 0 -> A = 0.
Proof.
move=> small; have /eqP : norm2 A = 0 by apply/eqP; rewrite eq_le small norm2_ge0.
rewrite norm2E psumr_eq0; last by move=> j _; apply: sumr_ge0 => i _; exact: sqr_ge0.
move=> /allP zero; apply/matrixP => i j; rewrite mxE; have := zero j; rewrite mem_index_enum => /(_ isT) /=.
rewrite psumr_eq0; last by move=> k _; exact: sqr_ge0.
by move=> /allP /(_ i); rewrite mem_index_enum => /(_ isT) /=; rewrite sqrf_eq0 => /eqP.
Qed.

(* Bessel: columns that are orthonormal do not lengthen. *)
Lemma norm2_sub m n (A B : 'M[R]_(m, n)) : norm2 (A - B) = norm2 A - 2%:R * inner A B + norm2 B.
Proof. by rewrite /norm2 innerDl !innerDr !innerNl !innerNr (innerC B A); ring. Qed.
Lemma bessel m n k (A : 'M[R]_(m, n)) (W : 'M[R]_(n, k)) : W^T *m W = 1%:M -> norm2 (A *m W) <= norm2 A.
Proof.
move=> unit; pose B := A *m W *m W^T; have := norm2_ge0 (A - B).
have cross : inner A B = norm2 (A *m W) by rewrite inner_move_right trmxK.
have own : norm2 B = norm2 (A *m W).
  by rewrite /norm2 {2}/B inner_move_right trmxK /B -[A *m W *m W^T *m W]mulmxA unit mulmx1.
rewrite norm2_sub cross own; lra.
Qed.

(* A matrix of rank s has d - s orthonormal columns in its kernel (Gram and Schmidt). *)
Lemma orthonormal_kernel p d (A : 'M[R]_(p, d)) e : (e + \rank A <= d)%N ->
  exists N : 'M[R]_(d, e), N^T *m N = 1%:M /\ A *m N = 0.
Proof.
elim: e => [|e IH] fits; first by exists 0; split; apply/matrixP => i j; [case: i | case: j].
have [|N [unit kernel]] := IH; first by apply: leq_trans fits; rewrite leq_add2r.
pose B := col_mx A N^T.
have low : (\rank B < d)%N.
  apply: leq_ltn_trans (_ : (\rank A + e < d)%N); last by rewrite addnC.
  by rewrite /B -addsmxE (leq_trans (mxrank_adds_leqif _ _).1) // leq_add2l rank_leq_row.
have : kermx B^T != 0.
  by rewrite -mxrank_eq0 -lt0n mxrank_ker mxrank_tr subn_gt0.
case/rowV0Pn => w inside nonzero.
have zero : B *m w^T = 0 by apply: trmx_inj; rewrite trmx_mul trmxK trmx0; exact/sub_kermxP.
have [Aw Nw] : A *m w^T = 0 /\ N^T *m w^T = 0.
  by move: zero; rewrite /B mul_col_mx => /eqP; rewrite -(col_mx0 _ _ _ 1) => /eqP /eq_col_mx.
have long : 0 < norm2 w^T.
  rewrite lt_neqAle norm2_ge0 andbT eq_sym; apply/eqP => none; case/negP: nonzero; apply/eqP.
  by apply: trmx_inj; rewrite trmx0; apply: norm2_eq0; rewrite none.
pose s := Num.sqrt (norm2 w^T); have s2 : s ^+ 2 = norm2 w^T by rewrite sqr_sqrtr // ltW.
have s0 : s != 0 by rewrite sqrtr_eq0 -ltNge.
pose v : 'M[R]_(d, 1) := s^-1 *: w^T.
suff : exists M : 'M[R]_(d, e + 1), M^T *m M = 1%:M /\ A *m M = 0 by rewrite addn1.
exists (row_mx N v); rewrite tr_row_mx mul_col_row unit; split; last first.
  by rewrite mul_mx_row kernel /v -scalemxAr Aw scaler0 row_mx0.
have -> : N^T *m v = 0 by rewrite /v -scalemxAr Nw scaler0.
have -> : v^T *m N = 0 by rewrite -[N]trmxK -trmx_mul /v -scalemxAr Nw scaler0 trmx0.
have -> : v^T *m v = 1%:M.
  apply: by_trace; rewrite mxtrace1 -/(inner v v) /v innerZl innerZr -/(norm2 _) -s2; by field.
by rewrite -scalar_mx_block.
Qed.

Lemma unit_column k l (S : 'M[R]_(k, l)) j : S^T *m S = 1%:M -> norm2 (col j S) = 1.
Proof.
move=> /(congr1 (fun T : 'M_l => T j j)); rewrite !mxE eqxx => unit.
rewrite norm2E big_ord_recl big_ord0 addr0 -[RHS]/(true%:R) -unit; apply: eq_bigr => i _; by rewrite !mxE expr2.
Qed.

(* The kernel count: on d - s orthonormal columns Y vanishes and M does not shrink. *)
Lemma kernel_count m n d s (M Y : 'M[R]_(m, n)) (W : 'M[R]_(n, d)) (mu : R) :
  W^T *m W = 1%:M -> (\rank Y <= s)%N -> (s <= d)%N ->
  (forall x : 'M[R]_(d, 1), mu * norm2 x <= norm2 (M *m W *m x)) -> (d - s)%N%:R * mu <= norm2 (M - Y).
Proof.
move=> unit low fits long; have [|N [Nunit kernel]] := @orthonormal_kernel m d (Y *m W) (d - s)%N.
  by rewrite -[leqRHS](subnK fits) leq_add2l (leq_trans (mxrankM_maxl _ _)).
apply: le_trans (bessel (W := W *m N) (M - Y) _); last by rewrite trmx_mul -mulmxA (mulmxA W^T) unit mul1mx.
rewrite mulmxA mulmxBl mulmxBl kernel subr0 norm2_col.
have -> : (d - s)%N%:R * mu = \sum_(j < (d - s)%N) mu by rewrite sumr_const card_ord mulr_natl.
apply: ler_sum => j _; have := long (col j N); by rewrite unit_column // mulr1 !colE mulmxA.
Qed.

(* A spectral bound c pairs with orthonormal P, Q and a diagonal D >= 0 to at most c tr D. *)
Lemma duality m n k (C : 'M[R]_(m, n)) (P : 'M[R]_(m, k)) (Q : 'M[R]_(n, k)) (D : 'rV[R]_k) (c : R) :
  spectral_le C c -> P^T *m P = 1%:M -> Q^T *m Q = 1%:M -> (forall i, 0 <= D 0 i) ->
  inner C (P *m diag_mx D *m Q^T) <= c * \sum_i D 0 i.
Proof.
move=> bound Punit Qunit D0; rewrite inner_move_right trmxK inner_move_right tr_diag_mx innerC.
have -> : inner P (C *m Q *m diag_mx D) = \sum_i D 0 i * inner (col i P) (C *m col i Q).
  rewrite /inner /mxtrace; apply: eq_bigr => i _; rewrite [in RHS]big_ord_recl big_ord0 addr0 !mxE mulr_sumr.
  apply: eq_bigr => j _; have -> : C *m col i Q = col i (C *m Q) by rewrite !colE mulmxA.
  by rewrite mul_mx_diag !mxE; ring.
rewrite mulr_sumr; apply: ler_sum => i _; rewrite [leRHS]mulrC ler_wpM2l //.
have := bound (col i P) (col i Q); rewrite !unit_column //; lra.
Qed.

Lemma inner0r m n (A : 'M[R]_(m, n)) : inner A 0 = 0. Proof. by rewrite innerC inner0l. Qed.
Lemma inner_move_left m n p (A : 'M[R]_(m, n)) (B : 'M[R]_(m, p)) (C : 'M[R]_(p, n)) :
  inner (B *m C) A = inner C (B^T *m A).
Proof. by rewrite innerC inner_move innerC. Qed.
Lemma norm2_sum_apart m r k (P : 'M[R]_(m, r)) (U : 'M[R]_(m, k)) (y : 'M[R]_(r, 1)) (z : 'M[R]_(k, 1)) :
  P^T *m P = 1%:M -> U^T *m U = 1%:M -> P^T *m U = 0 -> norm2 (P *m y + U *m z) = norm2 y + norm2 z.
Proof.
move=> Punit Uunit PU; rewrite /norm2 innerDl !innerDr (innerC (U *m z) (P *m y)) !inner_move_left !mulmxA.
by rewrite Punit Uunit PU !mul1mx mul0mx inner0r addr0 add0r.
Qed.
Lemma inner_frame m n k (U : 'M[R]_(m, k)) (V : 'M[R]_(n, k)) (D E : 'rV[R]_k) :
  U^T *m U = 1%:M -> V^T *m V = 1%:M ->
  inner (U *m diag_mx D *m V^T) (U *m diag_mx E *m V^T) = \sum_i D 0 i * E 0 i.
Proof.
move=> Uunit Vunit; rewrite inner_move_right trmxK -[_ *m V^T *m V]mulmxA Vunit mulmx1 inner_move_left mulmxA Uunit.
rewrite mul1mx /inner tr_diag_mx mulmx_diag mxtrace_diag; by apply: eq_bigr => i _; rewrite mxE.
Qed.
(* Pairing with what is off P and Q sees only the part off P and Q. *)
Lemma pair_off m n r k (A : 'M[R]_(m, n)) (P : 'M[R]_(m, r)) (Q : 'M[R]_(n, r)) (U : 'M[R]_(m, k)) (V : 'M[R]_(n, k))
    (D : 'M[R]_k) : P^T *m U = 0 -> Q^T *m V = 0 ->
  inner ((1%:M - P *m P^T) *m A *m (1%:M - Q *m Q^T)) (U *m D *m V^T) = inner A (U *m D *m V^T).
Proof.
move=> PU QV; rewrite (inner_move_right _ (U *m D)) [in RHS]inner_move_right !trmxK.
have -> : (1%:M - P *m P^T) *m A *m (1%:M - Q *m Q^T) *m V = (1%:M - P *m P^T) *m (A *m V).
  by rewrite -!mulmxA [_ *m V in LHS]mulmxBl mul1mx -(mulmxA Q) QV mulmx0 subr0.
rewrite (inner_move_left _ (1%:M - P *m P^T)); have -> // : (1%:M - P *m P^T)^T *m (U *m D) = U *m D.
by rewrite transpose_add transpose_opp trmx1 trmx_mul trmxK mulmxDl mul1mx mulNmx mulmxA -(mulmxA P) PU mulmx0 mul0mx subr0.
Qed.

(* Lemma A: with X = P diag(S) Q^T, S >= sigma, and Xstar off X equal to U diag(T) V^T, T >= 0,
   ||X - Xstar||^2 >= 2 t sigma sum T, where t^2 s = r and s is at least the rank of Xstar. *)
Lemma lemma_a m n r k s (Xstar : 'M[R]_(m, n)) (P : 'M[R]_(m, r)) (Q : 'M[R]_(n, r)) (U : 'M[R]_(m, k))
    (V : 'M[R]_(n, k)) (S : 'rV[R]_r) (T : 'rV[R]_k) (sigma t : R) :
  let X := P *m diag_mx S *m Q^T in
  P^T *m P = 1%:M -> Q^T *m Q = 1%:M -> U^T *m U = 1%:M -> V^T *m V = 1%:M -> P^T *m U = 0 -> Q^T *m V = 0 ->
  (1%:M - P *m P^T) *m Xstar *m (1%:M - Q *m Q^T) = U *m diag_mx T *m V^T ->
  0 <= sigma -> (forall i, sigma <= S 0 i) -> (forall i, 0 <= T 0 i) ->
  (\rank Xstar <= s)%N -> (k <= s)%N -> (s <= r)%N -> 0 <= t -> t ^+ 2 * s%:R = r%:R ->
  2%:R * t * sigma * (\sum_i T 0 i) <= norm2 (X - Xstar).
Proof.
move=> X Punit Qunit Uunit Vunit PU QV off sigma0 S0 T0 low fits more t0 tE.
pose mu : 'rV[R]_k := \row_i Num.max (T 0 i) sigma; pose N := U *m diag_mx mu *m V^T.
have muE i : mu 0 i = Num.max (T 0 i) sigma by rewrite mxE.
have VQ : V^T *m Q = 0 by apply: trmx_inj; rewrite trmx_mul trmxK QV trmx0.
pose W := row_mx Q V.
have Wunit : W^T *m W = 1%:M by rewrite tr_row_mx mul_col_row Qunit Vunit QV VQ -scalar_mx_block.
have onQ : (X + N) *m Q = P *m diag_mx S.
  by rewrite mulmxDl /X /N -!mulmxA Qunit VQ !mulmx1 !mulmx0 addr0.
have onV : (X + N) *m V = U *m diag_mx mu.
  by rewrite mulmxDl /X /N -!mulmxA QV Vunit !mulmx1 !mulmx0 add0r.
have diagonal p (D : 'rV[R]_p) (x : 'M[R]_(p, 1)) : (forall i, sigma <= D 0 i) ->
    sigma ^+ 2 * norm2 x <= norm2 (diag_mx D *m x).
  move=> large; rewrite !norm2E !big_ord_recl !big_ord0 !addr0 mulr_sumr; apply: ler_sum => i _.
  by rewrite mul_diag_mx mxE exprMn ler_wpM2r ?sqr_ge0 // lerXn2r ?nnegrE // (le_trans sigma0).
(* M = X + N does not shrink by more than sigma on the columns of Q and V. *)
have long (x : 'M[R]_(r + k, 1)) : sigma ^+ 2 * norm2 x <= norm2 ((X + N) *m W *m x).
  rewrite -[x]vsubmxK /W mul_mx_row onQ onV mul_row_col -!mulmxA norm2_sum_apart //.
  have -> y z : norm2 (col_mx y z : 'M[R]_(r + k, 1)) = norm2 y + norm2 z.
    by rewrite /norm2 /inner tr_col_mx mul_row_col mxtraceD.
  by rewrite mulrDr lerD ?diagonal // => i; rewrite muE le_max lexx orbT.
have count := kernel_count Wunit low (leq_trans more (leq_addr k r)) long.
have XN : inner X N = 0.
  by rewrite /X -mulmxA inner_move_left /N !mulmxA PU !mul0mx inner0r.
have pair : inner (X - Xstar) N = - \sum_i T 0 i * mu 0 i.
  by rewrite innerDl innerNl XN add0r -(pair_off _ _ PU QV) off inner_frame.
have square : norm2 N = \sum_i mu 0 i ^+ 2.
  by rewrite /norm2 inner_frame //; apply: eq_bigr => i _; rewrite expr2.
have expand : norm2 (X + N - Xstar) = norm2 (X - Xstar) - 2%:R * (\sum_i T 0 i * mu 0 i) + \sum_i mu 0 i ^+ 2.
  have -> : X + N - Xstar = X - Xstar - (- N) by rewrite opprK addrAC.
  rewrite norm2_sub innerNr pair opprK; congr (_ + _).
  by rewrite -square /norm2 innerNl innerNr opprK.
have t1 : (0 < s)%N -> 1 <= t.
  move=> s0; have : 1 * s%:R <= t ^+ 2 * s%:R :> R by rewrite mul1r tE ler_nat.
  by rewrite ler_pM2r ?ltr0n // => big; rewrite -(@ler_pXn2r _ 2) ?nnegrE ?expr1n.
have each i : 2%:R * t * sigma * T 0 i <= 2%:R * (T 0 i * mu 0 i) - mu 0 i ^+ 2 + t ^+ 2 * sigma ^+ 2.
  have large : 1 <= t by apply: t1; apply: leq_trans fits; case: (i) => j; exact: leq_ltn_trans.
  rewrite muE; have := T0 i; set x := T 0 i => x0; case: (lerP x sigma) => small.
    have : 0 <= (t - 1) * sigma * ((t - 1) * sigma + 2%:R * (sigma - x)).
      by rewrite mulr_ge0 ?addr_ge0 ?mulr_ge0 ?subr_ge0 ?ler0n.
    lra.
  have := sqr_ge0 (x - t * sigma); lra.
have sums : 2%:R * t * sigma * (\sum_i T 0 i) <=
    2%:R * (\sum_i T 0 i * mu 0 i) - \sum_i mu 0 i ^+ 2 + k%:R * (t ^+ 2 * sigma ^+ 2).
  have -> : k%:R * (t ^+ 2 * sigma ^+ 2) = \sum_(i < k) t ^+ 2 * sigma ^+ 2 by rewrite sumr_const card_ord mulr_natl.
  by rewrite !mulr_sumr -sumrB -big_split /=; apply: ler_sum => i _; exact: each.
apply: le_trans sums _.
have enough : k%:R * (t ^+ 2 * sigma ^+ 2) <= (r + k - s)%N%:R * sigma ^+ 2.
  case: (posnP s) => [none|some].
    have -> : k = 0%N by apply/eqP; rewrite -leqn0 -none.
    by rewrite mul0r mulr_ge0 ?ler0n ?sqr_ge0.
  rewrite mulrA ler_wpM2r ?sqr_ge0 // natrB ?(leq_trans more (leq_addr k r)) // natrD -tE.
  have one : 1 <= t ^+ 2 by rewrite exprn_ege1 ?t1.
  have size : k%:R <= s%:R :> R by rewrite ler_nat.
  have : 0 <= (s%:R - k%:R) * (t ^+ 2 - 1) by rewrite mulr_ge0 ?subr_ge0.
  lra.
rewrite expand in count; lra.
Qed.

(* P Q^T - K with K off P and Q and not larger than lam: a subgradient of lam times the nuclear norm. *)
Lemma subgradient m n r (P : 'M[R]_(m, r)) (Q : 'M[R]_(n, r)) (K : 'M[R]_(m, n)) (lam : R) :
  0 <= lam -> P^T *m P = 1%:M -> Q^T *m Q = 1%:M -> P^T *m K = 0 -> K *m Q = 0 -> spectral_le K lam ->
  spectral_le (lam *: (P *m Q^T) - K) lam.
Proof.
move=> lam0 Punit Qunit PK KQ bound u v.
have split a (W : 'M[R]_(a, r)) (w : 'M[R]_(a, 1)) : W^T *m W = 1%:M ->
    norm2 w = norm2 (W^T *m w) + norm2 (w - W *m (W^T *m w)).
  move=> unit; have own : norm2 (W *m (W^T *m w)) = norm2 (W^T *m w).
    by rewrite /norm2 (inner_move_left _ W) mulmxA unit mul1mx.
  by rewrite norm2_sub own inner_move -/(norm2 _); ring.
pose u' := u - P *m (P^T *m u); pose v' := v - Q *m (Q^T *m v).
have -> : inner u ((lam *: (P *m Q^T) - K) *m v) = lam * inner (P^T *m u) (Q^T *m v) - inner u' (K *m v').
  have -> : K *m v' = K *m v by rewrite /v' mulmxBr (mulmxA K) KQ mul0mx subr0.
  have -> : inner u' (K *m v) = inner u (K *m v).
    by rewrite /u' innerDl innerNl (inner_move_left _ P) (mulmxA P^T) PK mul0mx inner0r subr0.
  by rewrite mulmxBl -scalemxAl innerDr innerNr innerZr -(mulmxA P) (inner_move u P).
have one : 2%:R * inner (P^T *m u) (Q^T *m v) <= norm2 (P^T *m u) + norm2 (Q^T *m v).
  have := norm2_ge0 (P^T *m u - Q^T *m v); rewrite norm2_sub; lra.
have two := bound (- u') v'; rewrite innerNl /norm2 innerNl innerNr opprK -!/(norm2 _) in two.
rewrite (split _ P u) // (split _ Q v) // -/u' -/v'.
have := ler_wpM2l lam0 one; lra.
Qed.

Theorem theorem_a m n r k s (X Xstar G Gstar Z K Kstar : 'M[R]_(m, n)) (P : 'M[R]_(m, r)) (Q : 'M[R]_(n, r))
    (Pstar : 'M[R]_(m, s)) (Qstar : 'M[R]_(n, s)) (U : 'M[R]_(m, k)) (V : 'M[R]_(n, k))
    (S : 'rV[R]_r) (Sstar : 'rV[R]_s) (T : 'rV[R]_k) (sigma t lam alpha beta : R) :
  (* X = P diag(S) Q^T with smallest singular value at least sigma *)
  X = P *m diag_mx S *m Q^T -> P^T *m P = 1%:M -> Q^T *m Q = 1%:M -> 0 <= sigma -> (forall i, sigma <= S 0 i) ->
  (* Xstar = Pstar diag(Sstar) Qstar^T *)
  Xstar = Pstar *m diag_mx Sstar *m Qstar^T -> Pstar^T *m Pstar = 1%:M -> Qstar^T *m Qstar = 1%:M ->
  (forall i, 0 <= Sstar 0 i) ->
  (* the part of Xstar off X, of rank k *)
  (1%:M - P *m P^T) *m Xstar *m (1%:M - Q *m Q^T) = U *m diag_mx T *m V^T ->
  U^T *m U = 1%:M -> V^T *m V = 1%:M -> P^T *m U = 0 -> Q^T *m V = 0 -> (forall i, 0 <= T 0 i) -> (k <= s)%N ->
  (* t = sqrt(r/s), where r is the rank allowed and s that of Xstar *)
  (s <= r)%N -> 0 <= t -> t ^+ 2 * s%:R = r%:R -> 0 <= lam ->
  (* second-order stationarity of X: G = -lam P Q^T + K + Z off P and Q, |K|_2 <= lam, |Z|_2 <= beta sigma *)
  G = - (lam *: (P *m Q^T)) + K + Z -> P^T *m K = 0 -> K *m Q = 0 -> spectral_le K lam ->
  P^T *m Z = 0 -> Z *m Q = 0 -> spectral_le Z (beta * sigma) ->
  (* Xstar minimises: Gstar = -lam Pstar Qstar^T + Kstar *)
  Gstar = - (lam *: (Pstar *m Qstar^T)) + Kstar -> Pstar^T *m Kstar = 0 -> Kstar *m Qstar = 0 ->
  spectral_le Kstar lam ->
  (* restricted strong convexity between X and Xstar, and the condition *)
  alpha * norm2 (X - Xstar) <= inner (G - Gstar) (X - Xstar) -> 0 < alpha -> beta < 2%:R * alpha * t ->
  X = Xstar.
Proof.
move=> XE Punit Qunit sigma0 S0 XsE Psunit Qsunit Ss0 off Uunit Vunit PU QV T0 fits more t0 tE lam0.
move=> GE PK KQ Kbound PZ ZQ Zbound GsE PsK KsQ Ksbound convex alpha0 condition.
pose E := X - Xstar; pose g := lam *: (P *m Q^T) - K; pose gs := lam *: (Pstar *m Qstar^T) - Kstar.
have own a (A : 'M[R]_(m, a)) (B : 'M[R]_(n, a)) (C : 'M[R]_(m, n)) (D : 'rV[R]_a) : A^T *m A = 1%:M ->
    B^T *m B = 1%:M -> A^T *m C = 0 -> inner (lam *: (A *m B^T) - C) (A *m diag_mx D *m B^T) = lam * \sum_i D 0 i.
  move=> Aunit Bunit AC; rewrite innerDl innerNl innerZl.
  have -> : inner C (A *m diag_mx D *m B^T) = 0 by rewrite -mulmxA inner_move AC inner0l.
  have -> : A *m B^T = A *m diag_mx (const_mx 1) *m B^T by rewrite diag_const_mx mulmx1.
  rewrite inner_frame // subr0; congr (_ * _); apply: eq_bigr => i _; by rewrite mxE mul1r.
have Spos i : 0 <= S 0 i := le_trans sigma0 (S0 i).
have mono : 0 <= inner (g - gs) E.
  have a1 : inner g X = lam * \sum_i S 0 i by rewrite XE; apply: own.
  have a2 : inner gs Xstar = lam * \sum_i Sstar 0 i by rewrite XsE; apply: own.
  have a3 : inner g Xstar <= lam * \sum_i Sstar 0 i.
    by rewrite XsE; apply: duality => //; apply: subgradient.
  have a4 : inner gs X <= lam * \sum_i S 0 i by rewrite XE; apply: duality => //; apply: subgradient.
  rewrite /E innerDl innerNl !innerDr !innerNr a1 a2; lra.
have split : G - Gstar = Z - (g - gs).
  by rewrite GE GsE /g /gs !opprD !opprK; apply/matrixP => i j; rewrite !mxE; ring.
have ZX : inner Z X = 0 by rewrite XE -mulmxA inner_move PZ inner0l.
have ZXs : - inner Z Xstar <= beta * sigma * \sum_i T 0 i.
  have -> : - inner Z Xstar = inner (- Z) (U *m diag_mx T *m V^T).
    rewrite innerNl -off; congr (- _); rewrite inner_move_right inner_move.
    have -> : (1%:M - P *m P^T)^T *m (Z *m (1%:M - Q *m Q^T)^T) = Z; last by [].
    rewrite !(transpose_add, transpose_opp, trmx1, trmx_mul, trmxK) mulmxDr mulmx1 mulmxN mulmxA ZQ mul0mx subr0.
    by rewrite mulmxDl mul1mx mulNmx -mulmxA PZ mulmx0 subr0.
  apply: duality => // u v; have := Zbound u (- v).
  by rewrite mulmxN mulNmx /norm2 !innerNr !innerNl opprK.
have above : alpha * norm2 E <= beta * sigma * \sum_i T 0 i.
  have ZE : inner Z E = - inner Z Xstar by rewrite /E innerDr innerNr ZX add0r.
  apply: le_trans convex _; rewrite split -/E innerDl innerNl ZE; lra.
have low : (\rank Xstar <= s)%N by rewrite XsE (leq_trans (mxrankM_maxr _ _)) // rank_leq_row.
have below := lemma_a Punit Qunit Uunit Vunit PU QV off sigma0 S0 T0 low fits more t0 tE.
rewrite -XE -/E in below.
have sum0 : 0 <= \sum_i T 0 i by apply: sumr_ge0.
have none : sigma * (\sum_i T 0 i) <= 0.
  have : (2%:R * alpha * t - beta) * (sigma * (\sum_i T 0 i)) <= 0.
    have := ler_wpM2l (ltW alpha0) below; lra.
  by rewrite pmulr_rle0 // subr_gt0.
have zero : norm2 E <= 0.
  have flat : sigma * (\sum_i T 0 i) = 0 by apply/eqP; rewrite eq_le none mulr_ge0.
  by move: above; rewrite -mulrA flat mulr0 pmulr_rle0.
by apply/eqP; rewrite -subr_eq0; apply/eqP; exact: norm2_eq0.
Qed.

End TheoremA.
Print Assumptions theorem_a.
