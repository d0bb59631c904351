//go:build netns

package outcome_test

// breadth is of how many cases a wide test takes one: in the full tier it takes them all.
const breadth = 1
