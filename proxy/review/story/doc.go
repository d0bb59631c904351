// Package story tells the life of one connection from the records of a decision log: who sent what, what the gateway did with it and
// why, what it made itself, what it remembered, and which connections came before and after on the same ports.
package story
