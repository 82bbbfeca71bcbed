package ocsf

// The parts of an event, named as the schema names them.

type event struct {
	Activity     int            `json:"activity_id"`
	ActivityName string         `json:"activity_name,omitempty"`
	Category     int            `json:"category_uid"`
	Class        int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	Type         int            `json:"type_uid"`
	Time         int64          `json:"time"` // milliseconds since 1970
	Severity     int            `json:"severity_id"`
	Status       int            `json:"status_id"`
	StatusCode   string         `json:"status_code,omitempty"`
	Action       int            `json:"action_id"`
	Disposition  int            `json:"disposition_id"`
	Message      string         `json:"message"`
	Metadata     metadata       `json:"metadata"`
	Actor        *actor         `json:"actor,omitempty"`
	API          *api           `json:"api,omitempty"`
	Source       *endpoint      `json:"src_endpoint,omitempty"`
	Resources    []resource     `json:"resources,omitempty"`
	Finding      *finding       `json:"finding_info,omitempty"`
	Evidences    []evidence     `json:"evidences,omitempty"`
	User         *user          `json:"user,omitempty"`
	Service      *named         `json:"service,omitempty"`
	Privileges   []string       `json:"privileges,omitempty"`
	Entity       *entity        `json:"entity,omitempty"`
	Comment      string         `json:"comment,omitempty"`
	Unmapped     map[string]any `json:"unmapped"`
}

type metadata struct {
	Version        string   `json:"version"`
	UID            string   `json:"uid"`
	CorrelationUID string   `json:"correlation_uid"`
	LogName        string   `json:"log_name"`
	OriginalTime   string   `json:"original_time"`
	Product        named    `json:"product"`
	Profiles       []string `json:"profiles"`
}

type named struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name,omitempty"`
	Version string `json:"version,omitempty"`
}

type user struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

type actor struct {
	User *user  `json:"user"`
	App  string `json:"app_name,omitempty"`
}

type api struct {
	Operation string    `json:"operation"`
	Service   *named    `json:"service"`
	Request   *request  `json:"request"`
	Response  *response `json:"response,omitempty"`
}

type request struct {
	UID string `json:"uid"`
}

type response struct {
	Message string `json:"message,omitempty"`
	Error   string `json:"error,omitempty"`
}

type endpoint struct {
	Name string `json:"name"`
}

type resource struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Namespace string `json:"namespace,omitempty"`
}

type finding struct {
	UID      string    `json:"uid"`
	Title    string    `json:"title"`
	Analytic *analytic `json:"analytic"`
}

type analytic struct {
	Name string `json:"name"`
	Type int    `json:"type_id"` // 1 is Rule
}

type entity struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

type evidence struct {
	Actor *actor `json:"actor"`
}
