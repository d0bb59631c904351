// Package scripted makes scenarios of the decision log's records: what a gateway saw and did becomes a script that anybody can play.
//
// A log whose policy says log.detail: packet tells every segment. Any other counts plain in-window forwards instead: where the
// numbers of a record show that some went before it, a line gap and a few segments stand for them, so that the connection is
// remembered as it was, and the script says how many were only counted.
//
// What stands behind => is what the log says. Where the policy is at hand the script is played, and tells which of its lines come out
// otherwise.
package scripted
