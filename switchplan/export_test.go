package switchplan

// StepGrace is how long a step may take to return once its context ended.
const StepGrace = stepGrace
