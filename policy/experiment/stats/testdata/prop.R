# Golden values for shares. Made with R 4.2.2 (Debian 12, r-base-core): Rscript prop.R > prop.txt
f <- function(x) sprintf("%.17g", x)
for (c in list(c(81, 263), c(15, 148), c(0, 20), c(1, 29), c(29, 29), c(1, 1), c(123456, 3000000))) for (conf in c(.9, .95, .99)) {
  i <- suppressWarnings(prop.test(c[1], c[2], conf.level = conf, correct = FALSE))$conf.int
  cat("Wilson", c[1], c[2], conf, f(i[1]), f(i[2]), "\n")
}
for (c in list(c(3, 4, 1, 4), c(2, 12, 15, 18), c(10, 17, 2, 15), c(0, 5, 0, 9), c(1, 24, 20, 24), c(7, 7, 0, 7), c(0, 3000, 9, 2900),
               c(120, 100000, 171, 100100), c(50300, 100000, 49700, 100000), c(300000, 1000000, 302000, 1000000), c(5, 2000000, 22, 1900000),
               c(400, 500, 20, 500)))
  cat("Fisher", c[1], c[2], c[3], c[4], f(fisher.test(matrix(c(c[1], c[2] - c[1], c[3], c[4] - c[3]), 2))$p.value), "\n")
for (c in list(c(56, 70, 48, 80), c(120, 100000, 171, 100100), c(30, 60, 41, 60), c(400, 500, 20, 500))) {
  n <- c[2] + c[4]
  x <- prop.test(c(c[1], c[3]), c(c[2], c[4]), correct = FALSE)$statistic * (n - 1) / n
  cat("ChiSquare", c[1], c[2], c[3], c[4], f(pchisq(x, 1, lower.tail = FALSE)), "\n")
}
