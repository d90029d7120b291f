using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Tests.Compaction;

public sealed class CompactionServiceTests
{
    private readonly VirtualTimeProvider _time = new();

    [Fact]
    public async Task Drives_AreCompactedEachOneAtATime_AndAFailureIsTriedAgain()
    {
        Drive slow = new(1), failing = new(2) { Fail = true };
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        slow.Wait = release.Task;
        using var governor = new LoadGovernor(_time, new LoadGovernorOptions());
        using var service = new CompactionService(() => [slow, failing], governor, _time, new CompactionOptions(), NullLogger<CompactionService>.Instance);
        await service.StartAsync(CancellationToken.None);
        await AdvanceUntilAsync(() => failing.Runs >= 3);
        Assert.Equal(1, slow.Runs);
        release.SetResult();
        await AdvanceUntilAsync(() => slow.Runs >= 2);
        Assert.Equal(1, slow.MostInside);
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task DriveThatKeepsItsCaller_DoesNotKeepTheOthers()
    {
        using ManualResetEventSlim answers = new();
        Drive hanging = new(1) { Blocks = answers }, healthy = new(2);
        using var governor = new LoadGovernor(_time, new LoadGovernorOptions());
        using var service = new CompactionService(() => [hanging, healthy], governor, _time, new CompactionOptions(), NullLogger<CompactionService>.Instance);
        await service.StartAsync(CancellationToken.None);
        await AdvanceUntilAsync(() => healthy.Runs >= 2 && hanging.Runs == 1);
        answers.Set();
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task Compaction_WaitsWhileItIsPaused()
    {
        Drive drive = new(1);
        using var governor = new LoadGovernor(_time, new LoadGovernorOptions());
        using var service = new CompactionService(() => [drive], governor, _time, new CompactionOptions(), NullLogger<CompactionService>.Instance);
        service.Pause();
        await service.StartAsync(CancellationToken.None);
        for (int i = 0; i < 100; i++)
        {
            await Task.Yield();
            _time.Advance(TimeSpan.FromMinutes(1));
        }

        Assert.Equal(0, drive.Runs);
        service.Resume();
        await AdvanceUntilAsync(() => drive.Runs > 0);
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task Step_WhileClientsSuffer_IsPutOffButNotForEver()
    {
        var latency = new TestLatency();
        using var governor = new LoadGovernor(_time, new LoadGovernorOptions(), latency);
        governor.Observe();
        using (governor.Busy())
        {
            latency.P99 = TimeSpan.FromSeconds(1);
            governor.Observe();
        }

        Assert.True(governor.IsHeldBack);
        Drive drive = new(1);
        using var service = new CompactionService(() => [drive], governor, _time, new CompactionOptions(), NullLogger<CompactionService>.Instance);
        await service.StartAsync(CancellationToken.None);
        DateTimeOffset began = _time.GetUtcNow();
        await AdvanceUntilAsync(() => drive.Runs > 0, TimeSpan.FromMilliseconds(250));

        // The interval, and twenty quarters of a second. The clock may have run ahead of the loop.
        Assert.True(_time.GetUtcNow() - began >= TimeSpan.FromSeconds(60 + 5));
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task Steps_WhileClientsAreWell_FollowOneAnotherAtOnce()
    {
        var latency = new TestLatency();
        using var governor = new LoadGovernor(_time, new LoadGovernorOptions(), latency);
        for (int i = 0; i < 100; i++)
            governor.Observe();
        Drive drive = new(1) { Steps = 5 };
        using var service = new CompactionService(() => [drive], governor, _time, new CompactionOptions(), NullLogger<CompactionService>.Instance);
        await service.StartAsync(CancellationToken.None);
        await AdvanceUntilAsync(() => drive.Runs > 0);

        // The clock stands still.
        await drive.Done.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(1, governor.Share);
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task Copying_IsSeenByTheGovernor_AndGivingWayIsNot()
    {
        var latency = new TestLatency();
        using var governor = new LoadGovernor(_time, new LoadGovernorOptions(), latency);
        for (int i = 0; i < 100; i++)
            governor.Observe();
        TaskCompletionSource copied = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Drive drive = new(1) { Steps = 1, Wait = copied.Task };
        using var service = new CompactionService(() => [drive], governor, _time, new CompactionOptions(), NullLogger<CompactionService>.Instance);
        await service.StartAsync(CancellationToken.None);
        await AdvanceUntilAsync(() => drive.Runs > 0);
        latency.P99 = TimeSpan.FromSeconds(1);
        governor.Observe();
        Assert.True(governor.IsHeldBack);
        Assert.InRange(governor.Baseline!.Value.TotalMilliseconds, 2.9, 3.1);
        Assert.Equal(0.5, governor.Share);

        // It waits, and nothing is at work that the clients could suffer from.
        copied.SetResult();
        await drive.Waits.WaitAsync(TimeSpan.FromSeconds(30));
        for (int i = 0; i < 4; i++)
            governor.Observe();
        Assert.InRange(governor.Share, 0.51, 0.99);
        await AdvanceUntilAsync(() => drive.Done.IsCompleted, TimeSpan.FromMilliseconds(250));
        await service.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
    }

    private async Task AdvanceUntilAsync(Func<bool> condition, TimeSpan? step = null)
    {
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(30));
        while (!condition())
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
            _time.Advance(step ?? TimeSpan.FromMinutes(1));
        }
    }

    private sealed class Drive(int number) : ICompactableDrive
    {
        private readonly TaskCompletionSource _waits = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _runs;
        private int _inside;

        public Guid DriveId { get; } = new(number, 0, 0, new byte[8]);

        public bool Fail { get; init; }

        public Task Wait { get; set; } = Task.CompletedTask;

        /// <summary>Keeps the caller's thread until it is set.</summary>
        public ManualResetEventSlim? Blocks { get; init; }

        public int Runs => Volatile.Read(ref _runs);

        public int MostInside { get; private set; }

        /// <summary>How often the pace is awaited.</summary>
        public int Steps { get; init; }

        /// <summary>Completes when the pace has been asked for the first time.</summary>
        public Task Waits => _waits.Task;

        /// <summary>Completes when a run has.</summary>
        public Task Done => _done.Task;

        public async ValueTask<CompactionResult> CompactAsync(double minimumGarbageRatio, Func<long, CancellationToken, ValueTask> pace, CancellationToken cancellationToken = default)
        {
            MostInside = Math.Max(MostInside, Interlocked.Increment(ref _inside));
            Interlocked.Increment(ref _runs);
            Blocks?.Wait(TimeSpan.FromSeconds(40), CancellationToken.None);
            try
            {
                await Wait.WaitAsync(cancellationToken);
                for (int i = 0; i < Steps; i++)
                {
                    ValueTask step = pace(100, cancellationToken);
                    _waits.TrySetResult();
                    await step;
                }

                _done.TrySetResult();
                return Fail ? throw new IOException("test") : new CompactionResult(1, 100, 900);
            }
            finally
            {
                Interlocked.Decrement(ref _inside);
            }
        }
    }
}
