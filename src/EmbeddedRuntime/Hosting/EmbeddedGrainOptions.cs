using System.Reflection;
using System.Text.Json;
using ObjectStore.EmbeddedRuntime.Simulation;

namespace ObjectStore.EmbeddedRuntime;

/// <summary>How the embedded grain runtime runs. Read once, when the runtime is made.</summary>
public sealed class EmbeddedGrainOptions
{
    internal List<Assembly> GrainAssemblies { get; } = [];

    internal List<Type> GrainTypes { get; } = [];

    /// <summary>How long a caller waits for an answer before it gets a TimeoutException. The default is Orleans' own.</summary>
    public TimeSpan ResponseTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long an activation may be idle before it is collected, where its class doesn't say.</summary>
    public TimeSpan CollectionAge { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>How often idle activations are looked for. Collection comes at most two of these late.</summary>
    public TimeSpan CollectionQuantum { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// The number of live activations above which the least recently used idle ones go. At some 1 KiB each the default costs about 100 MiB. It is
    /// exceeded only while more than this many are busy.
    /// </summary>
    public int MaxActivations { get; set; } = 100_000;

    /// <summary>Requests that may wait for one activation; further callers get a LimitExceededException.</summary>
    public int MaxQueuedRequestsPerActivation { get; set; } = 10_000;

    /// <summary>Grain timers one activation may have at a time.</summary>
    public int MaxTimersPerActivation { get; set; } = 64;

    /// <summary>How long OnActivateAsync may take before its token is cancelled and the calls fail.</summary>
    public TimeSpan ActivationTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long OnDeactivateAsync may take before its token is cancelled and the activation is dropped.</summary>
    public TimeSpan DeactivationTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long stopping waits for activations to deactivate, within the host's own shutdown timeout.</summary>
    public TimeSpan ShutdownTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>The shortest reminder period. The default is Orleans' own.</summary>
    public TimeSpan MinimumReminderPeriod { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Whether a call to an idle activation may run on the caller's thread until its first await.</summary>
    public bool InlineCalls { get; set; } = true;

    /// <summary>The SQLite file of grain state and reminders. Null keeps both in memory only, unless stores are registered as services.</summary>
    public string? DatabasePath { get; set; }

    /// <summary>How grain state is serialised.</summary>
    public JsonSerializerOptions StateSerializerOptions { get; set; } = new() { IncludeFields = true };

    /// <summary>Runs every grain on one thread in an order drawn from a seed, in virtual time. Null in production.</summary>
    public SimulationScheduler? Simulation { get; set; }

    /// <summary>Registers every concrete class of the assembly that derives from Grain.</summary>
    public EmbeddedGrainOptions AddGrainAssembly(Assembly assembly)
    {
        ArgumentNullException.ThrowIfNull(assembly);
        if (!GrainAssemblies.Contains(assembly))
            GrainAssemblies.Add(assembly);
        return this;
    }

    /// <summary>Registers one grain class.</summary>
    public EmbeddedGrainOptions AddGrain<TGrain>()
        where TGrain : Orleans.Grain
    {
        GrainTypes.Add(typeof(TGrain));
        return this;
    }

    /// <exception cref="InvalidOperationException">A setting is out of range; the message names it, its value and the remedy.</exception>
    internal void Validate()
    {
        Positive(ResponseTimeout, nameof(ResponseTimeout));
        Positive(CollectionAge, nameof(CollectionAge));
        Positive(CollectionQuantum, nameof(CollectionQuantum));
        Positive(ActivationTimeout, nameof(ActivationTimeout));
        Positive(DeactivationTimeout, nameof(DeactivationTimeout));
        Positive(ShutdownTimeout, nameof(ShutdownTimeout));
        Positive(MinimumReminderPeriod, nameof(MinimumReminderPeriod));
        AtLeastOne(MaxActivations, nameof(MaxActivations));
        AtLeastOne(MaxQueuedRequestsPerActivation, nameof(MaxQueuedRequestsPerActivation));
        AtLeastOne(MaxTimersPerActivation, nameof(MaxTimersPerActivation));
    }

    private static void Positive(TimeSpan value, string name)
    {
        if (value <= TimeSpan.Zero)
            throw new InvalidOperationException($"EmbeddedGrainOptions.{name} is {value}; set a time greater than zero.");
    }

    private static void AtLeastOne(int value, string name)
    {
        if (value < 1)
            throw new InvalidOperationException($"EmbeddedGrainOptions.{name} is {value}; set a number of at least 1.");
    }
}
