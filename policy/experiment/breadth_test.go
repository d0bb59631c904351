//go:build !netns

package experiment

// breadth: of the simulated experiments the fast tier makes a sample.
const breadth = 100
