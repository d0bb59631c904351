//go:build !netns

package experiment

import "runtime/debug"

// breadth is of how many simulated experiments the fast tier makes one; the full tier makes them all.
const breadth = 400

// Tests make much garbage and keep little of it: to collect it less often saves a quarter of the fast tier's processor time.
func init() { debug.SetGCPercent(400) }
