//go:build !netns

package conntrack

// fastRounds is how many entries TestFastPass makes; the full tier makes more.
const fastRounds = 40000
