//go:build !netns

package stats

// breadth is of how many simulated experiments one is made in the fast tier; the full tier makes them all.
const breadth = 20
