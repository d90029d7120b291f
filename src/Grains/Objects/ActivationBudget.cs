namespace ObjectStore.Grains;

/// <summary>
/// Bounds the object grains of a silo that stay for their cache: a million keys written once each must not leave a million activations.
/// Above the budget a grain goes as soon as it has answered; those below it go by age. Thread-safe.
/// </summary>
public sealed class ActivationBudget(GrainOptions options)
{
    private int _live;

    /// <summary>Live object grains.</summary>
    public int Live => Volatile.Read(ref _live);

    internal bool IsExceeded => Live > options.ObjectActivationBudget;

    internal void Enter() => Interlocked.Increment(ref _live);

    internal void Leave() => Interlocked.Decrement(ref _live);
}
