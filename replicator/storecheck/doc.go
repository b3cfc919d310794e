// Package storecheck finds out what an S3 store really does, with objects of its own under a fresh prefix, which it
// removes at the end.
//
// Nothing in drp rests on more of a store than what is Needed here. Of the rest a report says what is not guaranteed
// where the store has it not, and what drp does instead. No test from outside can tell whether a store keeps what it
// acknowledged through a power cut.
package storecheck
