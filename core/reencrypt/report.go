package reencrypt

import "fmt"

// Report says what a run of [Job] did. Its JSON form is stable.
type Report struct {
	// Files counts the regular files that were read.
	Files int `json:"files"`
	// Tokens counts the tokens in them, look-alikes included: those that were
	// re-encrypted, those at the primary already, and those that stayed.
	Tokens int `json:"tokens"`
	// Reencrypted counts the tokens that were replaced; in a dry run, those that
	// would be.
	Reencrypted int `json:"reencrypted"`
	// Failed lists what should have been done and was not, at most 1000 tokens
	// of a file. Never nil.
	Failed []Failure `json:"failed"`
	// Skipped lists what is not touched on principle. Never nil.
	Skipped []Skip `json:"skipped"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// CensusReport says where the tokens of which versions are. Its JSON form is
// stable.
type CensusReport struct {
	// Keys counts the tokens of each key that occurs, by version. All versions of
	// such a key are there, those without a token too.
	Keys map[string]map[uint32]int `json:"keys"`
	// First is where the first token of each version that has any was found.
	First map[string]map[uint32]Place `json:"-"`
	// Unknown counts the tokens that belong to no version: look-alikes, unknown
	// keys, unknown versions, and keys that could not be looked up.
	Unknown int `json:"unknown"`
	// Files counts the regular files that were read, binary ones included.
	Files int `json:"files"`
	// Tokens is the sum of all counts in Keys and Unknown.
	Tokens int `json:"tokens"`
	// Failed says where the unknown tokens are, at most 1000 of a file, and
	// what could not be read. Never nil.
	Failed []Failure `json:"failed"`
	// Skipped lists what is not read on principle. Never nil.
	Skipped []Skip `json:"skipped"`
}

// Place is where something is.
type Place struct {
	File string `json:"file"`
	// Line counts from 1.
	Line int `json:"line"`
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Failure is a token, or a file, that stayed as it is.
type Failure struct {
	File string `json:"file"`
	// Line counts from 1; 0 stands for the file as a whole.
	Line  int    `json:"line"`
	Code  Code   `json:"code"`
	Error string `json:"error"`
}

// Skip is a file that was passed over.
type Skip struct {
	File string `json:"file"`
	// Reason is one of the Reason constants.
	Reason string `json:"reason"`
}

// The reasons for passing a file over.
const (
	ReasonSymlink   = "symbolic link"
	ReasonPipe      = "named pipe"
	ReasonSocket    = "socket"
	ReasonDevice    = "device"
	ReasonIrregular = "not a regular file"
	ReasonGit       = "git's own folder"
	// ReasonBinary: the file has NUL bytes, and nothing that looks like a token.
	ReasonBinary = "binary file"
)

// Progress is where a run has got to.
type Progress struct {
	// File is the one being read.
	File string
	// Files and Bytes are done, of TotalFiles and TotalBytes that were there when
	// the run began.
	Files, TotalFiles int
	Bytes, TotalBytes int64
}
