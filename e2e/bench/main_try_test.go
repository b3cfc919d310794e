package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"drp/raftstore/state"
)

func TestTry(t *testing.T) {
	p := newPlatform()
	b := time.Now()
	bc, _ := os.Create("/tmp/w7-build.pprof")
	pprof.StartCPUProfile(bc)
	if err := p.build(); err != nil {
		t.Fatal(err)
	}
	pprof.StopCPUProfile()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	t.Logf("built %s, index %d heap %d MiB objects %d", time.Since(b), p.index, m.HeapAlloc>>20, m.HeapObjects)
	f, _ := os.Create("/tmp/w7-heap.pprof")
	pprof.WriteHeapProfile(f)
	f.Close()
	var out bytes.Buffer
	b = time.Now()
	v := p.state.View()
	t.Logf("view %s", time.Since(b))
	b = time.Now()
	v.Persist(&out)
	t.Logf("persist %s %d MiB", time.Since(b), out.Len()>>20)
	os.WriteFile("/tmp/w7-state", out.Bytes(), 0o600)
	data := out.Bytes()
	p.state, v = nil, nil
	c, _ := os.Create("/tmp/w7-restore.pprof")
	pprof.StartCPUProfile(c)
	b = time.Now()
	s, err := state.Restore(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("restore %s", time.Since(b))
	pprof.StopCPUProfile()
	runtime.GC()
	runtime.ReadMemStats(&m)
	t.Logf("after heap %d MiB objects %d", m.HeapAlloc>>20, m.HeapObjects)
	g, _ := os.Create("/tmp/w7-heap2.pprof")
	pprof.WriteHeapProfile(g)
	g.Close()
	runtime.KeepAlive(s)
}
