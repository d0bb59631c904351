// Package trial reports policy experiments from decision logs: it reads which experiments a log tells of, analyses their outcomes
// (package experiment does the arithmetic), and writes the report as text and as drawings for the page.
package trial
