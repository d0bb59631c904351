//go:build netns

package experiment

// breadth: the full tier makes every simulated experiment.
const breadth = 1
