# Golden values for ratios clustered by unit. Made with R 4.2.2 (Debian 12, r-base-core): Rscript cluster.R > cluster.txt
# Equal weights: R's own t.test (Welch) on R's own data sets. Unequal weights: CR2 and Bell-McCaffrey by their matrices, which share
# nothing with the sums that the product uses.
f <- function(x) sprintf("%.17g", x)
show <- function(word, est, lo, hi, p) cat(word, f(est), f(lo), f(hi), f(p), "\n")
t <- t.test(extra ~ group, data = sleep); show("Sleep", mean(sleep$extra[1:10]) - mean(sleep$extra[11:20]), t$conf.int[1], t$conf.int[2], t$p.value)
w <- warpbreaks$breaks; a <- w[warpbreaks$wool == "A"]; b <- w[warpbreaks$wool == "B"]
t <- t.test(a, b, conf.level = .9); show("Warpbreaks90", mean(a) - mean(b), t$conf.int[1], t$conf.int[2], t$p.value)
# Weighted least squares of unit ratios on the arm, weights Den, sandwich with CR2 on one-observation clusters.
num1 <- c(3, 0, 7, 2, 12, 1, 0, 4); den1 <- c(10, 4, 21, 2, 90, 5, 1, 13)
num0 <- c(1, 1, 0, 0, 5, 2); den0 <- c(8, 3, 30, 6, 60, 7)
y <- c(num1 / den1, num0 / den0); W <- diag(c(den1, den0)); arm <- rep(c(1, 0), c(8, 6))
X <- cbind(1, arm)
bread <- solve(t(X) %*% W %*% X)
H <- X %*% bread %*% t(X) %*% W
S <- solve(W)                                   # working covariance: variance of a unit's ratio as 1/Den
G <- diag(14) - H
# per arm, so that Welch's joining can be checked: rows of each arm
part <- function(rows) {
  C <- matrix(0, 14, 14)
  c1 <- (bread %*% t(X) %*% W)[2, ]             # weights of the arm's coefficient
  for (i in rows) C[i, i] <- c1[i]^2 / (1 - H[i, i])
  V <- G %*% S %*% t(G)
  v <- sum(diag(C) * (G %*% y)^2)
  M <- sqrt(C) %*% V %*% sqrt(C)
  c(v, sum(diag(M))^2 / sum(M * M))
}
p1 <- part(1:8); p0 <- part(9:14)
v <- p1[1] + p0[1]; df <- v^2 / (p1[1]^2 / p1[2] + p0[1]^2 / p0[2])
d <- (bread %*% t(X) %*% W %*% y)[2]
show("Unequal", d, d - qt(.975, df) * sqrt(v), d + qt(.975, df) * sqrt(v), 2 * pt(-abs(d) / sqrt(v), df))
R1 <- sum(num1) / sum(den1); R0 <- sum(num0) / sum(den0)
l1 <- p1[1] / R1^2; l0 <- p0[1] / R0^2; v <- l1 + l0; df <- v^2 / (l1^2 / p1[2] + l0^2 / p0[2]); l <- log(R1 / R0)
show("Relative", R1 / R0, exp(l - qt(.975, df) * sqrt(v)), exp(l + qt(.975, df) * sqrt(v)), 2 * pt(-abs(l) / sqrt(v), df))
# ShareDiff: the same variances per arm; Wilson from R's prop.test needs the normal quantile, so it is solved here from its definition:
# the p with |share - p| = t sqrt(p(1-p)/n).
score <- function(share, n, t) {
  g <- function(p) (share - p)^2 - t^2 * p * (1 - p) / n
  c(if (share == 0) 0 else uniroot(g, c(0, share), tol = 1e-15)$root, if (share == 1) 1 else uniroot(g, c(max(share, 1e-12), 1), tol = 1e-15)$root)
}
effective <- function(share, v, den) min(max(sum(den)^2 / sum(den^2), if (v > 0) share * (1 - share) / v else 0), sum(den))
spread <- function(p, n) { q <- (p * n + 2) / (n + 4); q * (1 - q) / (n + 4) }
hybrid <- function(alpha, part0, num0, den0) {
  s1 <- sum(num1) / sum(den1); s0 <- sum(num0) / sum(den0)
  e1 <- effective(s1, p1[1], den1); e0 <- effective(s0, part0[1], den0)
  w1 <- spread(s1, e1); w0 <- spread(s0, e0)
  t <- qt(1 - alpha / 2, (w1 + w0)^2 / (w1^2 / p1[2] + w0^2 / part0[2]))
  i1 <- score(s1, e1, t); i0 <- score(s0, e0, t)
  d <- s1 - s0
  c(d, d - sqrt((s1 - i1[1])^2 + (i0[2] - s0)^2), d + sqrt((i1[2] - s1)^2 + (s0 - i0[1])^2))
}
for (none in 0:1) {
  n0 <- if (none) num0 * 0 else num0; q0 <- if (none) c(0, p0[2]) else p0
  h <- hybrid(.05, q0, n0, den0)
  a <- uniroot(function(a) prod(hybrid(a, q0, n0, den0)[2:3]), c(1e-9, .9999), tol = 1e-14)$root
  cat(if (none) "ShareNone" else "Share", f(h[1]), f(h[2]), f(h[3]), f(a), "\n")
}
