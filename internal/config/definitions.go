package config

import "go.yaml.in/yaml/v3"

// FirstSight is what becomes of definitions that are seen for the first time.
type FirstSight string

// At first sight a definition without a finding is pinned (clean), once for each
// server, or everything is held until it is approved (hold).
const (
	FirstSightClean FirstSight = "clean"
	FirstSightHold  FirstSight = "hold"
)

// Definitions says how the definitions of servers come to be approved.
type Definitions struct {
	// FirstSight is empty where the file does not say it: see Config.FirstSight.
	FirstSight FirstSight
	// Resources is graded or pinned: whether a resource that comes later passes
	// when nothing is found in it; empty where the file does not say it.
	Resources string
}

// FirstSight returns what holds: hold where others than the operator may call.
func (c *Config) FirstSight() FirstSight {
	switch {
	case c.Definitions.FirstSight != "":
		return c.Definitions.FirstSight
	case c.Identity.Outside():
		return FirstSightHold
	}
	return FirstSightClean
}

// NewResources reports that resources which come later pass when nothing is
// found in them.
func (c *Config) NewResources() bool {
	if c.Definitions.Resources != "" {
		return c.Definitions.Resources == resourcesGraded
	}
	return !c.Identity.Outside()
}

const (
	resourcesGraded = "graded"
	resourcesPinned = "pinned"
)

func definitionFields() []field[Definitions] {
	return []field[Definitions]{
		{"first_sight", func(s *source, n *yaml.Node, key string, d *Definitions) {
			if v, ok := s.oneOf(n, key, string(FirstSightClean), string(FirstSightHold)); ok {
				d.FirstSight = FirstSight(v)
			}
		}},
		{"resources", func(s *source, n *yaml.Node, key string, d *Definitions) {
			if v, ok := s.oneOf(n, key, resourcesGraded, resourcesPinned); ok {
				d.Resources = v
			}
		}},
	}
}

func (c *Config) definitionDepartures() (list []Departure) {
	if !c.Identity.Outside() {
		return nil
	}
	if c.Definitions.FirstSight == FirstSightClean {
		list = append(list, Departure{"definitions.first_sight", string(FirstSightClean), "definitions in which nothing is found are served before anybody approved them"})
	}
	if c.Definitions.Resources == resourcesGraded {
		list = append(list, Departure{"definitions.resources", resourcesGraded, "resources that come later are served before anybody approved them, if nothing is found in them"})
	}
	return list
}

func (s Server) definitionDepartures(at string) (list []Departure) {
	if s.InsecureUnpinned {
		list = append(list, Departure{at + ".insecure_unpinned", "true", "the server may change its definitions at any time; only the guards look at them"})
	}
	if s.InsecureSameNames {
		list = append(list, Departure{at + ".insecure_same_names", "true", "a tool of this server may have the name of another server's tool"})
	}
	return list
}
