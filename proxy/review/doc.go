// Package review answers questions about decision logs: Verify proves that a log
// explains every queue message, List picks records and prints them a line each.
package review
