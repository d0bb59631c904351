//go:build !netns

package scenario

import "runtime/debug"

// breadth is of how many cases a wide test takes one in the fast tier; the full tier takes them all.
const breadth = 5

// Tests make much garbage and keep little of it: to collect it less often saves a quarter of the fast tier's processor time.
func init() { debug.SetGCPercent(400) }
