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
