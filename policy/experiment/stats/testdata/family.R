# Golden values for Holm, goodness of fit and quantiles. Made with R 4.2.2 (Debian 12, r-base-core): Rscript family.R > family.txt
f <- function(x) paste(sprintf("%.17g", x), collapse = " ")
p <- c(.001, .04, .04, .2, .0005, .9, .013, .013, .03, 1)
cat("Holm", f(p), f(p.adjust(p, "holm")), "\n")
# R's documentation of chisq.test, goodness of fit: c(89, 37, 30, 28, 2) on probabilities .40 .20 .20 .15 .05
for (c in list(list(c(89, 37, 30, 28, 2), c(40, 20, 20, 15, 5)), list(c(10400, 9600), c(1, 1)), list(c(45210, 45530, 9900), c(45, 45, 10))))
  cat("SRM", length(c[[1]]), f(c[[1]]), f(c[[2]]), f(suppressWarnings(chisq.test(c[[1]], p = c[[2]], rescale.p = TRUE))$p.value), "\n")
o <- airquality$Ozone[!is.na(airquality$Ozone)]
for (q in c(0, .01, .25, .5, .75, .9, .95, 1)) cat("Ozone", f(q), f(quantile(o, q, type = 2)), f(ecdf(o)(quantile(o, q, type = 1))), "\n")
for (q in c(.05, .1, .3, .5, .95)) cat("Twenty", f(q), f(quantile((1:20)^2, q, type = 2)), "\n")
