//go:build netns

package stats

// simulated is how many experiments each simulation makes.
const simulated = 2000
