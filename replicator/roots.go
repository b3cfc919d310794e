package replicator

// What a site's bucket holds beside repositories lies below these roots. No repository's name begins with a dot.
const (
	TrashRoot       = ".trash/"
	TombstoneRoot   = ".tombstones/"
	MarkRoot        = ".marks/"
	BreakGlassRoot  = ".breakglass/"
	RemovedKeysRoot = ".removed-keys/"
	GoingKeysRoot   = ".going-keys/"
	AsideRoot       = ".aside/" // what a person has set aside by hand, as DRP.md says
	ErasingRoot     = ".erasing/"
	ErasedRoot      = ".erased/"
)

// Place is where something of a repository lies in a bucket: below Before+NAME+"/", or in the one object Before+NAME+After.
type Place struct{ Before, After string }

// Places are all of a repository's places. Whoever writes an object with a repository's name in its key has its place here: what
// lies elsewhere outlives the erasure of its account.
var Places = []Place{
	{"", "/"},
	{TrashRoot, "/"},
	{TombstoneRoot, "/"},
	{MarkRoot, "/"},
	{BreakGlassRoot, ".age"},
	{RemovedKeysRoot, "/"},
	{GoingKeysRoot, "/"},
	{AsideRoot, "/"},
}
