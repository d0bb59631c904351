//go:build netns

package experiment

// breadth is of how many simulated experiments the fast tier makes one; the full tier makes them all.
const breadth = 1
