package main

import (
	"os"
	"runtime/debug"
)

// spareMemory has the garbage of a coordinator collected when it is a fifth of what is in use, and not as large as that: the
// state is most of what it holds, and changes little at a time. With 100,000 accounts that is 250 MiB less, for some percent
// of one processor. It comes after the state was restored, which makes much garbage, and which a restart waits for. Who
// sets GOGC knows better.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(20)
	}
}

// spareCollections has the garbage of a command that copies much and holds little collected at four times what is in use,
// instead of twice: nearly all of it is what requests leave behind.
func spareCollections() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
