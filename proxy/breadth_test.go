//go:build !netns

package proxy

// breadth is of how many cases a wide test takes one in the fast tier; the full tier takes them all.
const breadth = 12
