//go:build netns

package conntrack

// fastRounds is how many entries TestFastPass makes.
const fastRounds = 3000000
