using Microsoft.Extensions.Logging.Abstractions;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Storage.Extents;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Liveness;

/// <summary>When the metadata is searched, and how long what it said is believed.</summary>
public sealed class OwnerSearchTests
{
    private static readonly TimeSpan Grace = TimeSpan.FromHours(72);

    private readonly Clock _clock = new();
    private readonly InMemoryMetadataStore _metadata = new();
    private readonly OwnerSearch _search;
    private int _searches;

    public OwnerSearchTests()
    {
        _search = new OwnerSearch(_metadata, _clock, Grace, NullLogger.Instance);
        _metadata.OnCall = call =>
        {
            _searches += call.Method == "SearchExtents" ? 1 : 0;
            return null;
        };
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task SearchThatFails_TakesItsRest()
    {
        _metadata.OnCall = _ =>
        {
            _searches++;
            _clock.Advance(TimeSpan.FromSeconds(10));
            return new StoreFault { Fail = new IOException("a page cannot be read") };
        };
        Assert.Null(_search.IsNamed(ExtentId.FirstAt(_clock.GetUtcNow() - Grace * 2)));
        await Assert.ThrowsAsync<IOException>(() => _search.SearchAsync(Stop));
        Assert.False(await _search.SearchAsync(Stop));
        _clock.Advance(TimeSpan.FromSeconds(199));
        Assert.False(await _search.SearchAsync(Stop));
        Assert.Equal(1, _searches);
        _clock.Advance(TimeSpan.FromSeconds(2));
        await Assert.ThrowsAsync<IOException>(() => _search.SearchAsync(Stop));
        Assert.Equal(2, _searches);
    }

    [Fact]
    public async Task WhatWasFoundByAClockThatWasAhead_IsNotBelievedAndFoundOutAnew()
    {
        ExtentId young = ExtentId.FirstAt(_clock.GetUtcNow());
        _clock.Shift = TimeSpan.FromHours(100);
        Assert.Null(_search.IsNamed(young));
        Assert.True(await _search.SearchAsync(Stop));
        Assert.False(_search.IsNamed(young));

        _clock.Shift = default;
        Assert.Null(_search.IsNamed(young));
        _clock.Advance(TimeSpan.FromMinutes(2));
        Assert.False(await _search.SearchAsync(Stop)); // the same, but known again
        Assert.Equal(2, _searches);
        Assert.False(_search.IsNamed(young));
        _clock.Advance(TimeSpan.FromMinutes(21));
        Assert.Null(_search.IsNamed(young)); // it may have got a name
    }

    /// <summary>A wall clock that can be wrong, beside one that only goes on.</summary>
    private sealed class Clock : TimeProvider
    {
        private TimeSpan _passed;

        public TimeSpan Shift { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _passed.Ticks;

        public override DateTimeOffset GetUtcNow() => new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero) + _passed + Shift;

        public void Advance(TimeSpan by) => _passed += by;
    }
}
