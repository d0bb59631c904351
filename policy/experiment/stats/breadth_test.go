//go:build !netns

package stats

// simulated is how many experiments each simulation makes: a sample of them in the fast tier, all 2,000 in the full one.
const simulated = 250
