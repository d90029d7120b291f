using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Simulation;

/// <summary>What goes wrong with one call.</summary>
[Flags]
public enum SimulatedFault
{
    None = 0,

    /// <summary>The call arrives late, by a random part of <see cref="SimulationFaults.MaxDelay"/>.</summary>
    Delay = 1,

    /// <summary>The call never arrives: the caller gets a TimeoutException.</summary>
    LoseRequest = 2,

    /// <summary>The call runs, but the caller gets a TimeoutException.</summary>
    LoseReply = 4,

    /// <summary>A second activation of the grain comes to life beside the first for <see cref="SimulationFaults.DuplicateLifetime"/>.</summary>
    DuplicateActivation = 8,

    /// <summary>The activation is dropped, without OnDeactivateAsync, when the call arrives; the call runs on a new one.</summary>
    CrashBefore = 16,

    /// <summary>The activation is dropped when the call has ended, and its answer with it: the caller gets a TimeoutException.</summary>
    CrashAfter = 32,
}

/// <summary>A call about to be sent.</summary>
public readonly record struct SimulatedCall(GrainId Grain, string Interface, string Method);

/// <summary>How often calls go wrong. Each is a probability per call between 0 and 1.</summary>
public sealed class SimulationFaults
{
    public double Delay { get; set; }

    public double LoseRequest { get; set; }

    public double LoseReply { get; set; }

    public double DuplicateActivation { get; set; }

    public double CrashBefore { get; set; }

    public double CrashAfter { get; set; }

    public TimeSpan MaxDelay { get; set; } = TimeSpan.FromSeconds(5);

    public TimeSpan DuplicateLifetime { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Decides faults of chosen calls, in addition to the drawn ones.</summary>
    public Func<SimulatedCall, SimulatedFault>? OnCall { get; set; }
}

/// <summary>Nothing can happen any more, or too much has, and the scenario has not ended.</summary>
public sealed class SimulationStalledException(string message) : Exception(message);
