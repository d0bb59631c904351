//go:build !netns

package stats

import "runtime/debug"

// breadth is of how many simulated experiments one is made in the fast tier; the full tier makes them all.
const breadth = 20

// Tests make much garbage and keep little of it: to collect it less often saves a quarter of the fast tier's processor time.
func init() { debug.SetGCPercent(400) }
