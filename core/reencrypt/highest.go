package reencrypt

import "context"

// HighestReport says which versions of some keys occur in files.
type HighestReport struct {
	// Keys holds the highest version of each key that occurs.
	Keys map[string]Sighting
	// Files counts the regular files that were read, binary ones included, and
	// Tokens the tokens of the keys in them.
	Files, Tokens int
	// Failed lists what could not be read, and Skipped what is not read on
	// principle. Never nil.
	Failed  []Failure
	Skipped []Skip
}

// Sighting is where a version was first met.
type Sighting struct {
	Version uint32
	Place
}

// Highest finds the highest version of each of the keys that a token in the files at
// and below the paths names, whether the keys' store knows of it or not. progress may
// be nil. The error is the context's.
func Highest(ctx context.Context, keys, paths []string, progress func(Progress)) (HighestReport, error) {
	h := highest{tour: newTour(progress, false), keys: make(map[string]Sighting, len(keys))}
	for _, key := range keys {
		h.keys[key] = Sighting{}
	}
	err := h.tour.run(ctx, paths, h.file)
	for key, s := range h.keys {
		if s.Version == 0 {
			delete(h.keys, key)
		}
	}
	return HighestReport{
		Keys: h.keys, Files: h.tour.files, Tokens: h.tokens, Failed: h.tour.failed, Skipped: h.tour.skipped,
	}, err
}

type highest struct {
	tour   *tour
	keys   map[string]Sighting
	tokens int
}

func (h *highest) file(_ context.Context, src *source, scan *scanner) error {
	return scan.tokens(func(p piece) {
		seen, ok := h.keys[string(p.parts.Key)]
		if !ok {
			return
		}
		h.tokens++
		if p.parts.Version > seen.Version {
			h.keys[string(p.parts.Key)] = Sighting{p.parts.Version, Place{src.path, p.line}}
		}
	})
}
