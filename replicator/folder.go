package replicator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// mostHeld is how many objects of one repository a walk through many holds in memory. Of a larger one the pass makes a
// listing of its own.
const mostHeld = 20_000

// changedAttempts is how often a repository is begun again that was pruned while it was copied.
const changedAttempts = 3

// errDisordered is a store that does not list by name.
var errDisordered = errors.New("the store does not list by name")

// Outcome is what became of one repository.
type Outcome struct {
	Prefix    string // "NAME/" below the folder; "" is the folder itself
	Unchanged bool   // both sides list the same: no pass was needed
	Report    Report
	Err       error
}

// Survey is what lies beside the repositories that were copied.
type Survey struct {
	OnlyThere int // repositories that the destination alone has; they are left as they are
	Strange   int // objects below the source's folder that are no part of a repository; they are not copied
}

// Folder copies every repository below one store's folder to another's: what Pass does, for each. It lists both once,
// and looks closer where they differ. each is told of every repository, one at a time; what fails for one keeps no other
// back. The error is one that ended all of it.
func Folder(ctx context.Context, src, dst *Store, o Options, each func(Outcome)) (Survey, error) {
	return (&folder{src: src, dst: dst, options: o, each: each, most: mostHeld}).run(ctx)
}

func (f *folder) run(ctx context.Context) (Survey, error) {
	f.done = make(map[string]bool)
	f.options.Workers = cmp.Or(f.options.Workers, 4)
	f.gate = make(chan struct{}, f.options.Workers)
	f.lists = make(chan struct{}, f.options.Workers)
	err := f.inOrder(ctx)
	if errors.Is(err, errDisordered) {
		err = f.anyOrder(ctx)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return f.survey, err
}

type folder struct {
	src, dst *Store
	options  Options
	most     int // see mostHeld
	gate     chan struct{}
	lists    chan struct{} // bounds the passes that make listings of their own, which may be large
	survey   Survey

	group *errgroup.Group // of the passes under way
	batch []candidate
	span  int // objects from the first of the batch to its last, with those of others between

	mu   sync.Mutex
	each func(Outcome)
	done map[string]bool // begun, or told of
}

// candidate is a repository of which the two listings differ.
type candidate struct {
	prefix  string
	glimpse *glimpse
}

// mostWaiting is how many candidates wait for a closer look together. Few enough that what is found first is copied while the rest
// is still being listed.
const mostWaiting = 200

// mostPasses is how many passes are under way at once, for each object that may be in flight: the walk waits for room among
// them, and while it lists on they have enough to do.
const mostPasses = 3

// inOrder walks through both listings side by side.
func (f *folder) inOrder(ctx context.Context) error {
	here, stopHere := iter.Pull2(shelves(f.src.ahead(ctx, "", ""), f.most, &f.survey.Strange))
	defer stopHere()
	var strange int // at the destination, which is nobody's question
	there, stopThere := iter.Pull2(shelves(f.dst.ahead(ctx, "", ""), f.most, &strange))
	defer stopThere()

	f.group = &errgroup.Group{}
	f.group.SetLimit(mostPasses * f.options.Workers)
	err := func() error {
		s, err, more := here()
		d, thereErr, moreThere := there()
		for ctx.Err() == nil {
			switch {
			case err != nil || thereErr != nil:
				return errors.Join(err, thereErr)
			case moreThere && (!more || d.prefix < s.prefix):
				if d.isRepository() {
					f.survey.OnlyThere++
				}
				d, thereErr, moreThere = there()
			case more:
				g := &glimpse{here: s.holding}
				if moreThere && d.prefix == s.prefix {
					g.there = d.holding
					d, thereErr, moreThere = there()
				}
				if err := f.one(ctx, s, g); err != nil {
					return err
				}
				s, err, more = here()
			default:
				return f.lookCloser(ctx)
			}
		}
		return context.Cause(ctx)
	}()
	return errors.Join(err, f.group.Wait())
}

// one decides what a repository at the source needs.
func (f *folder) one(ctx context.Context, s shelf, g *glimpse) error {
	f.survey.Strange += s.strange
	if len(f.batch) > 0 {
		f.span += s.objects()
	}
	switch {
	case !s.isRepository():
		if err := s.headless(f.src); err != nil {
			f.done[s.prefix] = true
			f.tell(Outcome{Prefix: s.prefix, Err: err})
		} else {
			f.survey.Strange += s.objects()
		}
		return nil
	case s.large:
		f.begin(ctx, s.prefix, nil)
		return nil
	}
	g.here.markAll(&g.there)
	if g.here.complete() && sameConfig(g.here.config, g.there.config) && g.here.whole() == nil {
		f.done[s.prefix] = true
		f.tell(Outcome{Prefix: s.prefix, Unchanged: true})
		return nil
	}
	if len(f.batch) == 0 {
		f.span = s.objects()
	}
	f.batch = append(f.batch, candidate{s.prefix, g})
	if len(f.batch) == mostWaiting {
		return f.lookCloser(ctx)
	}
	return nil
}

// lookCloser lists the candidates a second time, and begins their passes. Where they lie close together one listing goes
// through all of them; else each pass makes its own.
func (f *folder) lookCloser(ctx context.Context) error {
	const page = 1000
	batch := f.batch
	f.batch = nil
	if len(batch) > f.span/page {
		rest, strange := batch, 0
		for s, err := range shelves(f.src.objects(ctx, "", batch[0].prefix), f.most, &strange) {
			if err != nil {
				return err
			}
			for len(rest) > 0 && rest[0].prefix < s.prefix {
				rest = rest[1:] // it has gone
			}
			if len(rest) == 0 {
				break
			}
			if rest[0].prefix == s.prefix && !s.large {
				rest[0].glimpse.again = &s.holding
			}
		}
	}
	for _, c := range batch {
		f.begin(ctx, c.prefix, c.glimpse)
	}
	return nil
}

// begin waits for room and begins a pass.
func (f *folder) begin(ctx context.Context, prefix string, g *glimpse) {
	f.done[prefix] = true
	f.group.Go(func() error {
		f.pass(ctx, prefix, g)
		return nil
	})
}

// pass copies one repository, again when it was pruned meanwhile.
func (f *folder) pass(ctx context.Context, prefix string, g *glimpse) {
	out := Outcome{Prefix: prefix}
	for attempt := 1; ; attempt++ {
		r, err := f.try(ctx, prefix, g)
		r.Objects, r.Bytes = r.Objects+out.Report.Objects, r.Bytes+out.Report.Bytes
		out.Report, out.Err = r, err
		if !errors.Is(err, ErrChanged) || attempt == changedAttempts || pause(ctx, attempt) != nil {
			break
		}
		g = nil
	}
	if ctx.Err() == nil {
		f.tell(out)
	}
}

func (f *folder) try(ctx context.Context, prefix string, g *glimpse) (Report, error) {
	if g == nil {
		f.lists <- struct{}{}
		defer func() { <-f.lists }()
	}
	p := newPass(f.src, f.dst, prefix, f.options)
	p.gate, p.glimpse = f.gate, g
	return p.do(ctx)
}

func (f *folder) tell(o Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.each(o)
}

// anyOrder does the same for stores that do not list by name, or where one repository lies within another: each has
// listings of its own.
func (f *folder) anyOrder(ctx context.Context) error {
	here, strange, err := prefixes(ctx, f.src)
	if err != nil {
		return err
	}
	there, _, err := prefixes(ctx, f.dst)
	if err != nil {
		return err
	}
	f.survey = Survey{Strange: strange}
	for prefix := range there {
		if !here[prefix] {
			f.survey.OnlyThere++
		}
	}
	for prefix := range here {
		if !f.done[prefix] {
			f.begin(ctx, prefix, nil)
		}
	}
	return f.group.Wait()
}

// prefixes of all repositories, and how many objects are no part of any.
func prefixes(ctx context.Context, s *Store) (found map[string]bool, strange int, err error) {
	found = make(map[string]bool)
	filled := make(map[string]bool)
	for o, err := range s.objects(ctx, "", "") {
		if err != nil {
			return nil, 0, err
		}
		prefix, name, ok := splitKey(o.Key)
		switch {
		case !ok:
			strange++
		case name == configName:
			found[prefix] = true
		default:
			filled[prefix] = true
		}
	}
	maps.DeleteFunc(found, func(prefix string, _ bool) bool { return !filled[prefix] }) // another program's config
	return found, strange, nil
}

// shelf is what a listing shows of one repository.
type shelf struct {
	prefix string
	holding
	large bool // the packs were too many, and were dropped
}

func (s *shelf) isRepository() bool { return s.config != nil && s.objects() > 0 || s.large }

// headless tells what is left of a repository that has no config.
func (s *shelf) headless(store *Store) error {
	if s.config == nil && len(s.data)+len(s.index)+len(s.snapshots) > 0 {
		return fmt.Errorf("look at %s/%s: %w", store, s.prefix, ErrHeadless)
	}
	return nil
}

// shelves puts a listing's objects together by repository. It needs a store that lists by name.
func shelves(objects iter.Seq2[Object, error], most int, strange *int) iter.Seq2[shelf, error] {
	return func(yield func(shelf, error) bool) {
		var s *shelf
		last := ""
		for o, err := range objects {
			if err != nil {
				yield(shelf{}, err)
				return
			}
			if o.Key < last {
				yield(shelf{}, errDisordered)
				return
			}
			last = o.Key
			prefix, _, ok := splitKey(o.Key)
			if !ok {
				*strange++
				continue
			}
			if s != nil && s.prefix != prefix {
				if prefix < s.prefix {
					yield(shelf{}, errDisordered)
					return
				}
				if !yield(*s, nil) {
					return
				}
				s = nil
			}
			if s == nil {
				s = &shelf{prefix: prefix}
			}
			s.add(prefix, o)
			if s.objects() > most {
				s.large, s.holding = true, holding{config: s.config, strange: s.strange}
			}
		}
		if s != nil {
			yield(*s, nil)
		}
	}
}

// splitKey takes the name of a repository's file apart: "NAME/data/ab/ab…" is data/ab/ab… of "NAME/". What lies under a name
// that begins with a dot, as a site's exports and its trash do, is no repository.
func splitKey(key string) (prefix, name string, ok bool) {
	if strings.HasPrefix(key, ".") {
		return "", "", false
	}
	at := strings.LastIndexByte(key, '/') + 1
	if key[at:] == configName {
		return key[:at], configName, true
	}
	for range 2 { // the folder of its class, and for a pack the one between
		if at == 0 {
			return "", "", false
		}
		at = strings.LastIndexByte(key[:at-1], '/') + 1
		if _, _, ok := parseKey(key[at:]); ok {
			return key[:at], key[at:], true
		}
	}
	return "", "", false
}
