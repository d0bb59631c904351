//go:build !netns

package policy

// breadth is of how many cases a wide test takes one in the fast tier; the full tier takes them all.
const breadth = 5

// fastSeeds is how many worlds TestFastTwins makes of a policy.
const fastSeeds = 1
