package decisionlog

// Reload is the event type reload.
type Reload struct {
	OK           bool
	Preset       string
	PolicyRev    string
	PreviousRev  string
	Flows        string // keep, rematch or drop
	FlowsTouched uint64
	Error        string // why it was refused; the old policy then stays
}

// Count is a word and how often.
type Count struct {
	Word string
	N    uint64
}

// Kernel is the counter in front of the queue rule.
type Kernel struct {
	Set  bool
	Base uint64 // messages: its value when this run began
	Now  uint64 // messages: its value at the record's time
}

// Stats is the event type stats. Everything but Suppressed counts since the run
// began.
type Stats struct {
	Run          string
	Final        bool // the run ended well: rules gone, queue empty, all flows written
	Uptime       int64
	Kernel       Kernel
	Received     uint64 // queue messages read
	Verdicts     []Count
	Reasons      []Count
	Suppressed   []Count // individual records held back since the previous stats record, by reason
	RingDropped  uint64  // records
	PcapDropped  uint64  // packets decided that are not in the annotated capture
	QueueDropped uint64  // messages that the kernel dropped because the queue was full
	UserDropped  uint64  // messages that the kernel could not hand over (ENOBUFS)
	FailOpen     uint64
	Injected     uint64 // segments made, those of suppressed decisions included
	Omitted      uint64 // segments that a policy asked for and that were not made, for want of numbers or by its own bounds
	InjectErrors uint64 // of them, those that the system refused to send
	Flows        uint64 // entries in the table now
	Tombstones   uint64 // kept now
	Shadows      []ShadowStats
	FastPath     FastPathStats
}

// Words of Gap.Where and Gap.Bound.
const (
	GapQueue    = "queue"     // the kernel queue was full, or its socket was (ENOBUFS)
	GapFailOpen = "fail-open" // passed unseen by bypass or the kernel's fail-open flag
	GapRing     = "ring"      // record lost: the ring to the writer was full
	GapDisk     = "disk"      // record lost: the disk refused it
	GapCrash    = "crash"     // the process died
	GapWorker   = "worker"    // a worker was replaced, and the records that it owed died with it

	BoundExact   = "exact"
	BoundUpper   = "upper"   // at most Count
	BoundUnknown = "unknown" // at least Count
)

// Gap is the event type gap: queue messages that no other record explains.
type Gap struct {
	Where    string
	Count    uint64 // queue messages
	Bound    string
	From, To int64    // unix nanoseconds
	Run      string   // the run that it belongs to, where that is not the file's
	Kernel   Kernel   // crash: the counter of that run
	Known    uint64   // crash: what that run's log explains
	Records  []Count  // lost records by event type
	Reasons  []Count  // lost decision records by reason
	Fast     [2]int64 // packets and bytes that the fast path let pass and that no flow record tells of
	Detail   string
}

// Experiment is the event type experiment.
type Experiment struct {
	Name, Kind, Arm, Unit, Detail string
	Since                         int64  // of a stop, which each file tells again: when it was, Unix nanoseconds
	Spec                          []byte // the experiment's configuration as a JSON object in one line; nil for none
}

// Kinds of experiment records, their field event.
const (
	ExperimentStart     = "start"     // it is configured: at a gateway's start, in each file of its log, and after a reload
	ExperimentChanged   = "changed"   // a reload changed what spec says
	ExperimentEnd       = "end"       // its end has come, or a reload removed it
	ExperimentStop      = "stop"      // an arm gets no new connections any more
	ExperimentGuardrail = "guardrail" // a limit was crossed
)

// Header is the first line of each file, and the trailer the last line of a run
// (with what all its lines but the trailer explain). The Writer makes both.
type Header struct {
	Schema  int
	Version string // of the program
	Run     string
	BootID  string
	FileSeq uint64 // 1 is the run's first file
	Kernel  Kernel // the last known
	Before  Tally  // what the run's earlier lines explain
	Started int64  // unix nanoseconds: the run's start
}
