package source

// Trouble is something wrong with where a secret is kept, though it can be
// read. It holds no byte of content.
type Trouble struct {
	Code    string // "pinned_inode", "permissions"
	Problem string
	Hint    string
}

func (t Trouble) String() string { return t.Code + ": " + t.Problem + "; " + t.Hint }

// PinnedInode is the code of a file that no rotation will ever reach: it was
// mounted by itself and replaced on the host since.
const PinnedInode = "pinned_inode"

// An Inspector is a [Source] that can tell of trouble.
type Inspector interface {
	Inspect() []Trouble
}

// UnsettledError says that someone is writing at the moment. Read returns it
// beside what it could read.
type UnsettledError struct {
	Where string
}

func (e *UnsettledError) Error() string { return "is being written (" + e.Where + ")" }
