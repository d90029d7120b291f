// Every live activation, in a ring that a clock hand walks. Idle collection walks the whole ring each quantum; the bound on the number
// of activations uses the same ring as CLOCK, an approximation of least-recently-used: the hand spares an activation that was used since
// it last passed. Both take a few activations at a time under the lock, so neither holds up calls.

using Orleans;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Activations;

internal sealed class ActivationList(GrainRuntime runtime, int capacity)
{
    private const int BatchSize = 256;

    // How far the hand goes for one new activation over the bound: enough to stay ahead, little enough not to be felt by the caller.
    private const int EvictionsPerAddition = 32;
    private const int StepsPerAddition = 512;

    private readonly Lock _lock = new();
    private Activation? _first;
    private Activation? _last;
    private int _count;

    public int Count => Volatile.Read(ref _count);

    public void Add(Activation activation)
    {
        lock (_lock)
        {
            if (activation.IsGone)
                return;
            Append(activation);
            _count++;
        }

        if (_count > capacity)
            Evict();
    }

    public void Remove(Activation activation)
    {
        lock (_lock)
        {
            if (!activation.IsListed)
                return;
            Unlink(activation);
            _count--;
        }
    }

    public void CollectIdle()
    {
        Activation[] batch = new Activation[BatchSize];
        for (int left = Count; left > 0; left -= BatchSize)
        {
            int taken = Advance(batch.AsSpan(0, Math.Min(BatchSize, left)));
            long now = runtime.NowTicks;
            for (int i = 0; i < taken; i++)
            {
                TimeSpan age = batch[i].Class.CollectionAge;
                // Use is marked with the quantum's time, which may be a quantum old.
                if (age != Timeout.InfiniteTimeSpan)
                    batch[i].TryCollect(new DeactivationReason(DeactivationReasonCode.ActivationIdle, "Idle for its collection age."), now, now - age.Ticks - runtime.Options.CollectionQuantum.Ticks);
            }
        }
    }

    public List<Activation> Snapshot()
    {
        lock (_lock)
        {
            List<Activation> all = new(_count);
            for (Activation? activation = _first; activation is not null; activation = activation.Following)
                all.Add(activation);
            return all;
        }
    }

    private void Evict()
    {
        // Every thread that adds also takes away, so additions cannot outrun evictions.
        Activation[] one = new Activation[1];
        int evicted = 0;
        for (int step = 0; step < StepsPerAddition && evicted < EvictionsPerAddition && Count > capacity; step++)
        {
            if (Advance(one) == 0)
                return;
            Activation activation = one[0];
            if (activation.IsReferenced)
                activation.IsReferenced = false;
            else if (activation.TryCollect(new DeactivationReason(DeactivationReasonCode.HighMemoryPressure, "Too many activations."), runtime.NowTicks, long.MaxValue))
                evicted++;
        }
    }

    // Moves activations from the hand's position to behind it.
    private int Advance(Span<Activation> taken)
    {
        lock (_lock)
        {
            int count = 0;
            while (count < taken.Length && _first is { } activation)
            {
                Unlink(activation);
                Append(activation);
                taken[count++] = activation;
            }

            return count;
        }
    }

    private void Append(Activation activation)
    {
        activation.IsListed = true;
        activation.Previous = _last;
        activation.Following = null;
        if (_last is null)
            _first = activation;
        else
            _last.Following = activation;
        _last = activation;
    }

    private void Unlink(Activation activation)
    {
        activation.IsListed = false;
        if (activation.Previous is null)
            _first = activation.Following;
        else
            activation.Previous.Following = activation.Following;
        if (activation.Following is null)
            _last = activation.Previous;
        else
            activation.Following.Previous = activation.Previous;
        activation.Previous = null;
        activation.Following = null;
    }
}
