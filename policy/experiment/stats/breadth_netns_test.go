//go:build netns

package stats

// breadth: the full tier makes every simulated experiment.
const breadth = 1
