package main

import (
	"os"
	"runtime/debug"
)

// spareMemory has the garbage of a coordinator collected when it is 30 % of what is in use, and not as large as that: the
// state is most of what it holds, and changes little at a time. With 100,000 accounts that is 200 MiB less, for some
// percent of one processor. Who sets GOGC knows better.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30)
	}
}

// spareCollections has the garbage of a command that copies much and holds little collected at four times what is in use,
// instead of twice: nearly all of it is what requests leave behind.
func spareCollections() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
