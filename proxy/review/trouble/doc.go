// Package trouble finds in a decision log what went wrong for the users of connections, without being told what to look for.
//
// [Facts] take down, record by record, what a log says of one connection; [Facts.Trouble] says from them what went wrong, and
// nothing else. A [Tracker] does that for a whole log in one pass: it keeps facts of what lives or may still be explained by
// what comes next, and puts connections that belong to one attempt of a user together: a SYN that meets an old connection has
// the old one's flow id, and a client that dials again makes a connection of its own.
package trouble
