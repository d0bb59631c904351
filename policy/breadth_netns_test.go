//go:build netns

package policy

// breadth is of how many cases a wide test takes one: in the full tier it takes them all.
const breadth = 1

// fastSeeds is how many worlds TestFastTwins makes of a policy.
const fastSeeds = 12
