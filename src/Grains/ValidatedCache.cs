using System.Diagnostics.CodeAnalysis;

namespace ObjectStore.Grains;

/// <summary>
/// One value that a grain keeps of the store, for a bounded time. Used from one activation's turns only.
/// </summary>
/// <remarks>
/// Reads interleave with writes, so a read that began before a write may end after it. What it saw must not replace what the write
/// left: every write raises the generation, and a read's result is kept only in the generation it began in.
/// </remarks>
internal sealed class ValidatedCache<T>(TimeProvider time, TimeSpan validFor)
    where T : class
{
    private T? _value;
    private long _validatedAt;
    private long _generation;

    /// <summary>The value, unless there is none or it is older than it may be.</summary>
    public bool TryGet([NotNullWhen(true)] out T? value)
    {
        value = _value;
        if (value is not null && time.GetElapsedTime(_validatedAt) < validFor)
            return true;
        value = _value = null;
        return false;
    }

    /// <summary>To be called before the store is read.</summary>
    public Reading BeginRead() => new(_generation, time.GetTimestamp());

    /// <summary>Keeps what was read, unless a write has begun or ended since. Null keeps nothing: an absence is looked up each time.</summary>
    public void EndRead(Reading reading, T? value)
    {
        if (reading.Generation == _generation)
            (_value, _validatedAt) = (value, reading.BeganAt);
    }

    /// <summary>Forgets the value, and what reads under way will bring.</summary>
    public void Invalidate()
    {
        _generation++;
        _value = null;
    }

    /// <summary>Keeps what a write has left in the store.</summary>
    /// <param name="value">The value, or null to keep nothing.</param>
    /// <param name="committedAfter">A timestamp from before the write was sent: the value may be as old as that.</param>
    public void Set(T? value, long committedAfter)
    {
        _generation++;
        (_value, _validatedAt) = (value, committedAfter);
    }

    public readonly record struct Reading(long Generation, long BeganAt);
}
