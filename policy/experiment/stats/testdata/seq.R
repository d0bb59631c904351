# Golden values of seq_*.go, computed another way: units one by one instead of from sums, the Dirichlet-multinomial as a product of
# predictive probabilities, mixtures by numerical integration. Made with R 4.2.2 (Debian 12, r-base-core): Rscript seq.R > seq.txt
out <- function(name, v) cat(name, sprintf("%.12g", v), "\n")

# Sample ratio: 0.9 on each weight moved by 0.023 sqrt(w(1-w)) up or down, the others in proportion, 0.1 on Dirichlet(100 w).
srm <- function(w, n) {
  w <- w / sum(w)
  a <- 100 * w; logd <- 0
  for (i in rep(seq_along(n), n)) { logd <- logd + log(a[i] / sum(a)); a[i] <- a[i] + 1 } # one unit after another
  e <- 0.1 * exp(logd - sum(n * log(w)))
  for (i in seq_along(w)) for (s in c(1, -1)) {
    p <- w; p[i] <- w[i] + s * 0.023 * sqrt(w[i] * (1 - w[i])); p[-i] <- w[-i] * (1 - p[i]) / (1 - w[i])
    e <- e + 0.9 / (2 * length(w)) * exp(sum(n * log(p / w)))
  }
  log(e)
}
out("srm_50_50", srm(c(1, 1), c(520, 480)))
out("srm_50_50_far", srm(c(1, 1), c(10400, 9600)))
out("srm_50_40_10", srm(c(50, 40, 10), c(470, 420, 150)))

# The boundary, and the mixture's value there: twice the half-normal mixture of exp(l s - l^2 v / 2), at least 1/alpha.
boundary <- function(v, rho, alpha) sqrt(2 * (v + rho) * log(sqrt((v + rho) / rho) / (2 * alpha) + 1))
for (v in c(1, 10, 100)) {
  s <- boundary(v, 2, 0.025)
  out(paste0("boundary_", v), s)
  m <- integrate(function(l) 2 * dnorm(l, sd = 1 / sqrt(2)) * exp(l * s - l^2 * v / 2), 0, Inf, rel.tol = 1e-10)$value
  out(paste0("mixture_", v), m)
}

# The difference of two ratios, and one arm's own, from twice these ten and twelve units. 95 %.
n1 <- c(3, 0, 1, 4, 2, 0, 5, 1, 2, 3); d1 <- c(10, 4, 6, 9, 8, 3, 12, 5, 7, 6)
n0 <- c(1, 0, 0, 2, 1, 1, 0, 3, 1, 0, 2, 1); d0 <- c(9, 5, 4, 12, 7, 6, 3, 14, 8, 5, 10, 6)
n1 <- rep(n1, 2); d1 <- rep(d1, 2); n0 <- rep(n0, 2); d0 <- rep(d0, 2)
pooled <- (sum(n1) + sum(n0)) / (sum(d1) + sum(d0))
e <- c(n1 - pooled * d1, n0 - pooled * d0)
kurt <- mean(e^4) / mean(e^2)^2
arm <- function(n, d) {
  k <- length(n); own <- sum((n - sum(n) / sum(d) * d)^2) * k / (k - 1); eff <- k / kurt
  max(own, (eff * own + 10 * k * mean(e^2)) / (eff + 10))
}
D1 <- sum(d1); D0 <- sum(d0); D <- D1 + D0
v <- (D0 / D)^2 * arm(n1, d1) + (D1 / D)^2 * arm(n0, d0)
diff <- sum(n1) / D1 - sum(n0) / D0
half <- boundary(v, 2 * v, 0.025) / (D1 * D0 / D)
out("diff", diff); out("diff_lo", diff - half); out("diff_hi", diff + half)
s <- diff * D1 * D0 / D
out("diff_p", min(1, 2 * sqrt(1.5) / 2 / (exp(s^2 / (2 * 3 * v)) - 1)))
r <- sum(n1) / D1; own <- sum((n1 - r * d1)^2) * 20 / 19
half <- boundary(own, 2 * own, 0.025) / D1
out("own_lo", max(0, r - half)); out("own_hi", r + half)
lim <- sum((n1 - 0.1 * d1)^2); s <- sum(n1) - 0.1 * D1
out("own_p", min(0.5, sqrt(1.5) / 2 / (exp(s^2 / (2 * 3 * lim)) - 1)))
