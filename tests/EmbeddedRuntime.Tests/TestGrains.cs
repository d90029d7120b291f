using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Tests;

internal interface IProbeGrain : IGrainWithStringKey
{
    Task<long> Count();

    ValueTask<long> CountFast();

    ValueTask Touch();

    Task<bool> OverlapsAsync(int awaits);

    Task WaitAt(string gate);

    [AlwaysInterleave]
    Task Interleave();

    [ReadOnly]
    Task<int> ReadAt(string gate);

    Task ThrowNow(Exception exception);

    Task<int> ThrowLater(Exception exception);

    ValueTask<string> Echo(string text, int number, Guid id, long? maybe, (int, string) pair);

    Task CallSelf();

    [ResponseTimeout("00:00:05")]
    Task WaitBriefly(string gate);

    Task Leave();

    Task<int> ActivationNumber();

    Task<bool> WaitForCancellation(string started, CancellationToken cancellationToken);

    [OneWay]
    Task Notify(string gate, Exception? failure);

    Task<int> Chain(int length);

    Task StayFor(TimeSpan time);

    Task<IProbeGrain> Reference();

    Task<string?> ReadContext(string key);

    Task SetContext(string key, string value);

    Task<bool> ResumesInTurn();

    Task ReturnNull();
}

internal sealed class ProbeGrain(Journal journal) : Grain, IProbeGrain
{
    private static int _activations;
    private readonly int _number = Interlocked.Increment(ref _activations);
    private long _count;
    private int _inside;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        journal.Write($"activate {this.GetPrimaryKeyString()}");
        return Task.CompletedTask;
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        journal.Write($"deactivating {this.GetPrimaryKeyString()} {reason.ReasonCode}");
        if (this.GetPrimaryKeyString().StartsWith("gated", StringComparison.Ordinal))
            await journal.Gate("deactivate");
        journal.Write($"deactivated {this.GetPrimaryKeyString()}");
    }

    public Task<long> Count() => Task.FromResult(++_count);

    public ValueTask<long> CountFast() => new(++_count);

    public ValueTask Touch()
    {
        _count++;
        return default;
    }

    public async Task<bool> OverlapsAsync(int awaits)
    {
        bool overlaps = ++_inside != 1;
        for (int i = 0; i < awaits; i++)
        {
            long before = _count;
            await Task.Yield();
            overlaps |= _count != before;
            _count++;
        }

        overlaps |= --_inside != 0;
        return overlaps;
    }

    public async Task WaitAt(string gate)
    {
        journal.Write($"at {gate}");
        await journal.Gate(gate);
        journal.Write($"past {gate}");
    }

    public Task Interleave()
    {
        journal.Write("interleaved");
        return Task.CompletedTask;
    }

    public async Task<int> ReadAt(string gate)
    {
        int inside = ++_inside;
        journal.Write($"reading {gate}");
        await journal.Gate(gate);
        _inside--;
        return inside;
    }

    public Task ThrowNow(Exception exception) => throw exception;

    public async Task<int> ThrowLater(Exception exception)
    {
        await Task.Yield();
        throw exception;
    }

    public ValueTask<string> Echo(string text, int number, Guid id, long? maybe, (int, string) pair) => new($"{text} {number} {id} {maybe} {pair}");

    public Task CallSelf() => GrainFactory.GetGrain<IProbeGrain>(this.GetPrimaryKeyString()).Touch().AsTask();

    public Task WaitBriefly(string gate) => journal.Gate(gate);

    public Task Leave()
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }

    public Task<int> ActivationNumber() => Task.FromResult(_number);

    public async Task<bool> WaitForCancellation(string started, CancellationToken cancellationToken)
    {
        TaskCompletionSource cancelled = new();
        using CancellationTokenRegistration registration = cancellationToken.Register(() => cancelled.TrySetResult());
        journal.Write(started);
        await cancelled.Task;
        return cancellationToken.IsCancellationRequested;
    }

    public async Task Notify(string gate, Exception? failure)
    {
        await journal.Gate(gate);
        journal.Write($"notified {gate}");
        if (failure is not null)
            throw failure;
    }

    public async Task<int> Chain(int length) =>
        length == 0 ? 0 : 1 + await GrainFactory.GetGrain<IProbeGrain>($"{this.GetPrimaryKeyString()}.{length}"[^6..] + Guid.NewGuid()).Chain(length - 1);

    public Task StayFor(TimeSpan time)
    {
        DelayDeactivation(time);
        return Task.CompletedTask;
    }

    public Task<IProbeGrain> Reference() => Task.FromResult(this.AsReference<IProbeGrain>());

    public Task<string?> ReadContext(string key) => Task.FromResult((string?)RequestContext.Get(key));

    public Task SetContext(string key, string value)
    {
        RequestContext.Set(key, value);
        return Task.CompletedTask;
    }

    public async Task<bool> ResumesInTurn()
    {
        SynchronizationContext? before = SynchronizationContext.Current;
        await Task.Run(() => Thread.MemoryBarrier());
        return before is not null && ReferenceEquals(before, SynchronizationContext.Current);
    }

    public Task ReturnNull() => null!;
}

internal interface IReentrantGrain : IGrainWithStringKey
{
    Task WaitAt(string gate);

    Task Open(string gate);

    Task<int> LostUpdates(int rounds);
}

[Reentrant]
internal sealed class ReentrantGrain(Journal journal) : Grain, IReentrantGrain
{
    private int _inTurn;

    public async Task WaitAt(string gate)
    {
        journal.Write($"at {gate}");
        await journal.Gate(gate);
    }

    public Task Open(string gate)
    {
        journal.Open(gate);
        return Task.CompletedTask;
    }

    // Turns interleave at awaits, yet between two awaits nothing else may run.
    public async Task<int> LostUpdates(int rounds)
    {
        int overlaps = 0;
        for (int i = 0; i < rounds; i++)
        {
            if (Interlocked.Increment(ref _inTurn) != 1)
                overlaps++;
            Thread.SpinWait(20);
            Interlocked.Decrement(ref _inTurn);
            await Task.Yield();
        }

        return overlaps;
    }
}

/// <summary>Has no code to run when it goes.</summary>
internal interface ILightGrain : IGrainWithIntegerKey
{
    ValueTask<long> Touch();
}

internal sealed class LightGrain : Grain, ILightGrain
{
    private long _touches;

    public ValueTask<long> Touch() => new(++_touches);
}

[CollectionAgeLimit(Minutes = 60)]
[GrainType("long-lived")]
internal sealed class LongLivedGrain : Grain, ILongLivedGrain
{
    public Task Touch() => Task.CompletedTask;
}

internal interface ILongLivedGrain : IGrainWithGuidKey
{
    Task Touch();
}

internal interface IFailingGrain : IGrainWithStringKey
{
    Task<int> Attempts();
}

internal sealed class FailingGrain : Grain, IFailingGrain
{
    public static readonly InvalidDataException Failure = new("not this time");
    private static readonly System.Collections.Concurrent.ConcurrentDictionary<string, int> Counts = new();

    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        await Task.Yield();
        if (Counts.AddOrUpdate(this.GetPrimaryKeyString(), 1, (_, count) => count + 1) == 1)
            throw Failure;
    }

    public Task<int> Attempts() => Task.FromResult(Counts[this.GetPrimaryKeyString()]);
}

internal interface IWorkerGrain : IGrainWithIntegerKey
{
    Task WaitAt(string gate);
}

[StatelessWorker(4)]
internal sealed class WorkerGrain(Journal journal) : Grain, IWorkerGrain
{
    public Task WaitAt(string gate)
    {
        journal.Write("worker");
        return journal.Gate(gate);
    }
}

internal interface INeverUpGrain : IGrainWithStringKey
{
    Task Touch();
}

internal sealed class NeverUpGrain : Grain, INeverUpGrain
{
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }

    public Task Touch() => Task.CompletedTask;
}

internal interface INotCallableGrain : IGrainWithStringKey
{
    int Answer();
}

internal sealed class NotCallableGrain : Grain, INotCallableGrain
{
    public int Answer() => 42;
}

internal interface ITimerGrain : IGrainWithStringKey
{
    Task Begin(string name, TimeSpan due, TimeSpan period, bool interleave, string? failOn, bool keepAlive);

    Task End(string name);

    Task Change(string name, TimeSpan due, TimeSpan period);

    Task WaitAt(string gate);

    Task BeginMany(int count);
}

internal sealed class TimerGrain(Journal journal) : Grain, ITimerGrain
{
    private readonly Dictionary<string, IGrainTimer> _timers = [];

    public Task Begin(string name, TimeSpan due, TimeSpan period, bool interleave, string? failOn, bool keepAlive)
    {
        int ticks = 0;
        _timers[name] = this.RegisterGrainTimer(
            (text, cancellation) =>
            {
                journal.Write($"{text} {++ticks}");
                return failOn == ticks.ToString() ? throw new InvalidOperationException("tick") : Task.CompletedTask;
            },
            name,
            new GrainTimerCreationOptions(due, period) { Interleave = interleave, KeepAlive = keepAlive });
        return Task.CompletedTask;
    }

    public Task End(string name)
    {
        _timers[name].Dispose();
        return Task.CompletedTask;
    }

    public Task Change(string name, TimeSpan due, TimeSpan period)
    {
        _timers[name].Change(due, period);
        return Task.CompletedTask;
    }

    public Task WaitAt(string gate)
    {
        journal.Write($"at {gate}");
        return journal.Gate(gate);
    }

    public Task BeginMany(int count)
    {
        for (int i = 0; i < count; i++)
            this.RegisterGrainTimer(() => Task.CompletedTask, TimeSpan.FromDays(1), Timeout.InfiniteTimeSpan);
        return Task.CompletedTask;
    }
}

internal interface IReminderGrain : IGrainWithStringKey
{
    Task Register(string name, TimeSpan due, TimeSpan period);

    Task<bool> Unregister(string name);

    Task<string[]> Names();

    Task UnregisterStale(string name);
}

internal sealed class ReminderGrain(Journal journal) : Grain, IReminderGrain, IRemindable
{
    public Task ReceiveReminder(string reminderName, TickStatus status)
    {
        journal.Write($"{this.GetPrimaryKeyString()} {reminderName} {status.CurrentTickTime - VirtualTime.Start}");
        return Task.CompletedTask;
    }

    public async Task Register(string name, TimeSpan due, TimeSpan period) => await this.RegisterOrUpdateReminder(name, due, period);

    public async Task<bool> Unregister(string name)
    {
        if (await this.GetReminder(name) is not { } reminder)
            return false;
        await this.UnregisterReminder(reminder);
        return true;
    }

    public async Task UnregisterStale(string name)
    {
        IGrainReminder reminder = (await this.GetReminder(name))!;
        await this.RegisterOrUpdateReminder(name, TimeSpan.FromHours(1), TimeSpan.FromHours(1));
        await this.UnregisterReminder(reminder);
    }

    public async Task<string[]> Names() => [.. (await this.GetReminders()).Select(reminder => reminder.ReminderName)];
}

internal static class VirtualTime
{
    public static DateTime Start => Simulation.VirtualTimeProvider.Epoch.UtcDateTime;
}

internal interface INotRemindableGrain : IGrainWithStringKey
{
    Task Register();
}

internal sealed class NotRemindableGrain : Grain, INotRemindableGrain
{
    public Task Register() => this.RegisterOrUpdateReminder("r", TimeSpan.Zero, TimeSpan.FromMinutes(1));
}

[GenerateSerializer]
internal sealed class AccountState
{
    [Id(0)]
    public long Balance { get; set; }

    [Id(1)]
    public List<string> Entries = [];
}

internal interface IAccountGrain : IGrainWithStringKey
{
    Task<long> Add(long amount);

    Task<long> Balance();

    Task<(bool Exists, string? Etag, int Entries)> Record();

    Task Clear();

    Task ReadAgain();
}

internal sealed class AccountGrain(
    [PersistentState("account", "accounts")] IPersistentState<AccountState> account,
    IGrainFactory grains,
    [PersistentState("other")] IPersistentState<AccountState> other,
    IServiceProvider services) : Grain, IAccountGrain
{
    public async Task<long> Add(long amount)
    {
        Assert.NotNull(grains);
        Assert.NotNull(services.GetService<Journal>());
        account.State.Balance += amount;
        account.State.Entries.Add($"{amount}");
        await account.WriteStateAsync();
        return account.State.Balance;
    }

    public Task<long> Balance() => Task.FromResult(account.State.Balance);

    public Task<(bool Exists, string? Etag, int Entries)> Record() => Task.FromResult((account.RecordExists, account.Etag, account.State.Entries.Count + other.State.Entries.Count));

    public Task Clear() => account.ClearStateAsync();

    public Task ReadAgain() => account.ReadStateAsync();
}
