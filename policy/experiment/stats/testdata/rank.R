# Golden values for tests by ranks. Made with R 4.2.2 (Debian 12, r-base-core): Rscript rank.R > rank.txt
f <- function(x) sprintf("%.17g", x)
show <- function(word, x, y) { w <- suppressWarnings(wilcox.test(x, y)); cat(word, f(w$statistic), f(w$p.value), "\n") }
# Hollander & Wolfe (1973), 69f, as in R's documentation of wilcox.test
show("Chorioamnion", c(0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46), c(1.15, 0.88, 0.90, 0.74, 1.21))
o <- airquality
show("Ozone", o$Ozone[o$Month == 5 & !is.na(o$Ozone)], o$Ozone[o$Month == 8 & !is.na(o$Ozone)])
show("Sleep", sleep$extra[1:10], sleep$extra[11:20])
for (c in list(c(3, 4, 0), c(3, 4, 12), c(5, 5, 4), c(1, 10, 0), c(49, 49, 900), c(49, 30, 735), c(20, 49, 600)))
  cat("Exact", c[1], c[2], c[3], f(min(1, 2 * min(pwilcox(c[3], c[1], c[2]), pwilcox(c[3] - 1, c[1], c[2], lower.tail = FALSE)))), "\n")
# 50 and more: normal approximation without ties
show("Squares", (((1:60) * 37) %% 61)^1.5, (((1:70) * 29) %% 71)^1.6 + .5)
# Clustered: the generalised Wilcoxon test by its definition, over all pairs of values (the product sorts and sweeps). Units' weights are 1.
units1 <- list(c(1.2, 3.4, 2.2), c(5), c(2.2, 2.2), c(0.3, 9, 9, 4), c(3.4), c(6, 7), c(8), c(2.5, 1), c(7.5), c(5, 5, 6), c(4.4), c(9.9), c(3), c(6.1, 2), c(8.8))
units0 <- list(c(2.2), c(1, 1.5, 3), c(0.5, 0.7), c(3.4, 2, 1), c(4), c(0.1), c(2.6, 2.7), c(5), c(1.9), c(0.3, 6), c(3.3), c(2.2, 0.2), c(4.1), c(1.1), c(0.9), c(7))
K <- function(a, b) mean(outer(a, b, function(x, y) (x > y) + (x == y) / 2))
M <- sapply(units0, function(b) sapply(units1, function(a) K(a, b)))
P <- rowMeans(M); Q <- colMeans(M)
v1 <- var(P) / length(P); v0 <- var(Q) / length(Q)
df <- (v1 + v0)^2 / (v1^2 / (length(P) - 1) + v0^2 / (length(Q) - 1))
A <- mean(M); s <- sqrt(v1 + v0)
cat("Clustered", f(A), f(A - qt(.975, df) * s), f(A + qt(.975, df) * s), f(2 * pt(-abs(A - .5) / s, df)), "\n")
# Few units: the same statistic over all ways to deal the first 5 and 6 units to arms of 5 and 6.
few <- c(units1[1:5], units0[1:6]); N <- 11
KK <- sapply(few, function(b) sapply(few, function(a) K(a, b)))
tstat <- function(i) { m <- KK[i, -i]; v <- var(rowMeans(m)) / 5 + var(colMeans(m)) / 6; (mean(m) - .5) / sqrt(v) }
all <- abs(apply(combn(N, 5), 2, tstat))
cat("Few", f(mean(KK[1:5, 6:11])), f(mean(all >= all[1] * (1 - 1e-9))), "\n")
