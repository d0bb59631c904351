//go:build !netns

package main

// breadth is of how many cases a wide test takes one in the fast tier; the full tier takes them all.
const breadth = 3
