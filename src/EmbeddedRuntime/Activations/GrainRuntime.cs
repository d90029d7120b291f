using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using ObjectStore.EmbeddedRuntime.Diagnostics;
using ObjectStore.EmbeddedRuntime.Proxies;
using ObjectStore.EmbeddedRuntime.Reminders;
using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.EmbeddedRuntime.State;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Activations;

/// <summary>The grain classes of a process and their activations.</summary>
internal sealed partial class GrainRuntime : IClusterClient, IDisposable
{
    private readonly ILogger _log;
    private readonly long _startTimestamp;
    private readonly List<GrainClass> _classes = [];
    private readonly Dictionary<string, GrainClass> _classesByName = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<Type, Binding> _bindings = new();
    private readonly ActivationList _activations;
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ITimer? _collector;
    private volatile bool _stopping;
    private long _coarseNowTicks;

    public GrainRuntime(IServiceProvider services, EmbeddedGrainOptions options, TimeProvider time, IGrainStateStore stateStore, IReminderStore reminderStore, ILogger log)
    {
        options.Validate();
        Services = services;
        Options = options;
        Simulation = options.Simulation;
        Time = time;
        StateStore = stateStore;
        _log = log;
        _startTimestamp = time.GetTimestamp();
        InlineCalls = options.InlineCalls && Simulation is null;
        _activations = new ActivationList(this, options.MaxActivations);
        Meters = new RuntimeMeters(() => _activations.Count);
        Timeouts = new Timeouts(this, options.ResponseTimeout);
        Reminders = new ReminderService(this, reminderStore);
        foreach (Type type in options.GrainTypes.Concat(options.GrainAssemblies.SelectMany(GrainTypesOf)).Distinct())
            AddClass(new GrainClass(type, options));
        Simulation?.Attach(this);
    }

    public IServiceProvider Services { get; }

    public IServiceProvider ServiceProvider => Services;

    public EmbeddedGrainOptions Options { get; }

    public SimulationScheduler? Simulation { get; }

    public TimeProvider Time { get; }

    public IGrainStateStore StateStore { get; }

    public ReminderService Reminders { get; }

    public RuntimeMeters Meters { get; }

    public Timeouts Timeouts { get; }

    public bool InlineCalls { get; }

    public int ActivationCount => _activations.Count;

    /// <summary>Time since the runtime was made.</summary>
    public long NowTicks => Time.GetElapsedTime(_startTimestamp).Ticks;

    /// <summary>The same as of the last collection quantum, at no cost.</summary>
    public long CoarseNowTicks => Volatile.Read(ref _coarseNowTicks);

    // ---- References ------------------------------------------------------------------------------------------------------------

    public TGrainInterface GetGrain<TGrainInterface>(string primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithStringKey => (TGrainInterface)(object)Make(typeof(TGrainInterface), primaryKey, grainClassNamePrefix);

    public TGrainInterface GetGrain<TGrainInterface>(long primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithIntegerKey => (TGrainInterface)(object)Make(typeof(TGrainInterface), GrainId.FormatKey(primaryKey), grainClassNamePrefix);

    public TGrainInterface GetGrain<TGrainInterface>(Guid primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithGuidKey => (TGrainInterface)(object)Make(typeof(TGrainInterface), GrainId.FormatKey(primaryKey), grainClassNamePrefix);

    public IGrain GetGrain(Type grainInterfaceType, string grainPrimaryKey) => (IGrain)Make(grainInterfaceType, grainPrimaryKey, null);

    public IGrain GetGrain(Type grainInterfaceType, long grainPrimaryKey) => (IGrain)Make(grainInterfaceType, GrainId.FormatKey(grainPrimaryKey), null);

    public IGrain GetGrain(Type grainInterfaceType, Guid grainPrimaryKey) => (IGrain)Make(grainInterfaceType, GrainId.FormatKey(grainPrimaryKey), null);

    public TGrainInterface GetGrain<TGrainInterface>(GrainId grainId)
        where TGrainInterface : IAddressable => (TGrainInterface)(object)GetReference(typeof(TGrainInterface), grainId);

    public GrainReference GetReference(Type grainInterface, GrainId id)
    {
        GrainClass grainClass = _classesByName.GetValueOrDefault(id.Type.Name) ?? throw new ArgumentException($"No grain class is named '{id.Type}'.", nameof(id));
        if (!grainInterface.IsAssignableFrom(grainClass.Type))
            throw new InvalidCastException($"Grain {id} ({grainClass.Type}) does not implement {grainInterface}.");
        return ProxyFactory.For(grainInterface)(this, grainClass, id.Key.Text);
    }

    private GrainReference Make(Type grainInterface, string key, string? classNamePrefix)
    {
        ArgumentNullException.ThrowIfNull(key);
        if (classNamePrefix is not null)
            return ProxyFactory.For(grainInterface)(this, ClassFor(grainInterface, classNamePrefix), key);
        if (!_bindings.TryGetValue(grainInterface, out Binding binding))
            _bindings[grainInterface] = binding = new Binding(ClassFor(grainInterface, null), ProxyFactory.For(grainInterface));
        return binding.Make(this, binding.Class, key);
    }

    private GrainClass ClassFor(Type grainInterface, string? classNamePrefix)
    {
        List<GrainClass> candidates = _classes.FindAll(candidate =>
            grainInterface.IsAssignableFrom(candidate.Type) && (classNamePrefix is null || candidate.Type.FullName!.StartsWith(classNamePrefix, StringComparison.Ordinal)));
        return candidates.Count switch
        {
            1 => candidates[0],
            0 => throw new ArgumentException($"No registered grain class implements {grainInterface}; add its assembly with AddGrainAssembly.", nameof(grainInterface)),
            _ => throw new ArgumentException($"{grainInterface} is implemented by {string.Join(", ", candidates.Select(candidate => candidate.Type))}; name one by its prefix.", nameof(grainInterface)),
        };
    }

    private static IEnumerable<Type> GrainTypesOf(System.Reflection.Assembly assembly) =>
        assembly.GetTypes().Where(type => type is { IsClass: true, IsAbstract: false, ContainsGenericParameters: false } && type.IsAssignableTo(typeof(Grain)));

    private void AddClass(GrainClass grainClass)
    {
        if (!_classesByName.TryAdd(grainClass.GrainType.Name, grainClass))
            throw new InvalidOperationException(
                $"Grain classes {_classesByName[grainClass.GrainType.Name].Type} and {grainClass.Type} are both named '{grainClass.GrainType}'; give one a [GrainType].");
        _classes.Add(grainClass);
    }

    // ---- Calls -----------------------------------------------------------------------------------------------------------------

    /// <summary>Sends a call on its way. What prevents that is the call's outcome, not an exception here.</summary>
    public void Send(CallRequest call)
    {
        if (Simulation is not null)
        {
            Simulation.Send(call);
            return;
        }

        try
        {
            Deliver(call, call.Class.Find(DirectoryKeyOf(call)));
        }
        catch (OrleansException exception)
        {
            call.Fail(exception);
        }
    }

    /// <summary>Sends a call again that its activation didn't get to.</summary>
    /// <exception cref="OrleansException">It cannot be delivered.</exception>
    public void Resend(CallRequest call)
    {
        if (Simulation is not null)
            Simulation.Resend(call);
        else
            Deliver(call, null);
    }

    /// <exception cref="OrleansException">It cannot be delivered: the runtime is stopping, or too many wait.</exception>
    public void Deliver(CallRequest call, Activation? activation)
    {
        string? directoryKey = null;
        while (activation is null || !activation.TryAccept(call))
        {
            directoryKey ??= DirectoryKeyOf(call);
            activation = FindOrCreate(call.Class, call.Key, directoryKey);
        }
    }

    public Activation CreateDuplicate(GrainClass grainClass, string key)
    {
        Activation duplicate = new(this, grainClass, key, directoryKey: "");
        _activations.Add(duplicate);
        return duplicate;
    }

    public void Schedule(Activation activation)
    {
        if (Simulation is not null)
            Simulation.Schedule(activation);
        else
            ThreadPool.UnsafeQueueUserWorkItem(activation, preferLocal: false);
    }

    public void OnActivationGone(Activation activation, string directoryKey)
    {
        activation.Class.Remove(directoryKey, activation);
        _activations.Remove(activation);
        if (_stopping && _activations.Count == 0)
            _drained.TrySetResult();
    }

    private Activation FindOrCreate(GrainClass grainClass, string key, string directoryKey)
    {
        if (grainClass.Find(directoryKey) is { } found)
        {
            // One that is gone is about to leave the directory; its last step may still be ahead of it.
            if (found.IsGone)
                grainClass.Remove(directoryKey, found);
            else
                return found;
        }

        if (_stopping)
            throw new OrleansMessageRejectionException($"The grain runtime is stopping and does not activate {grainClass.GrainType}/{key}.");
        Activation created = new(this, grainClass, key, directoryKey);
        Activation activation = grainClass.GetOrAdd(directoryKey, created);
        if (ReferenceEquals(activation, created))
            _activations.Add(created);
        return activation;
    }

    private string DirectoryKeyOf(CallRequest call)
    {
        if (!call.Class.IsStatelessWorker)
            return call.Key;
        int worker = (Simulation?.Next(call.Class.Workers)) ?? Environment.CurrentManagedThreadId % call.Class.Workers;
        return worker == 0 ? call.Key : $"{call.Key}\0{worker}";
    }

    // ---- Life ------------------------------------------------------------------------------------------------------------------

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        using (SuppressedFlow.Begin())
            _collector = Time.CreateTimer(static state => ((GrainRuntime)state!).Collect(), this, Options.CollectionQuantum, Options.CollectionQuantum);
        await Reminders.StartAsync(cancellationToken);
    }

    /// <summary>Deactivates every activation, refusing new ones, until the deadline or the token. Those left then are abandoned.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        _stopping = true;
        Reminders.Stop();
        if (_collector is not null)
            await _collector.DisposeAsync();
        foreach (Activation activation in _activations.Snapshot())
            activation.Deactivate(new DeactivationReason(DeactivationReasonCode.ShuttingDown, "The process is stopping."));
        if (_activations.Count == 0)
            _drained.TrySetResult();
        try
        {
            if (Simulation is not null)
                await Task.WhenAll(_activations.Snapshot().Select(activation => activation.Deactivated));
            else
                await _drained.Task.WaitAsync(Options.ShutdownTimeout, Time, cancellationToken);
        }
        catch (Exception exception) when (exception is TimeoutException or OperationCanceledException)
        {
            LogAbandoned(_log, _activations.Count);
        }
    }

    public void Dispose()
    {
        _stopping = true;
        Reminders.Stop();
        _collector?.Dispose();
        Timeouts.Dispose();
        Meters.Dispose();
    }

    private void Collect()
    {
        Volatile.Write(ref _coarseNowTicks, NowTicks);
        _activations.CollectIdle();
    }

    // ---- Log -------------------------------------------------------------------------------------------------------------------

    public void LogTurnFailure(Activation activation, Exception exception) => LogTurnFailure(_log, activation.GrainId, exception);

    public void LogDeactivationFailure(Activation activation, Exception exception) => LogDeactivationFailure(_log, activation.GrainId, exception);

    public void LogTimerFailure(Activation activation, Exception exception) => LogTimerFailure(_log, activation.GrainId, exception);

    public void LogOneWayFailure(CallRequest call, Exception exception) => LogOneWayFailure(_log, call.Method.ToString(), call.GrainId, exception);

    public void LogReminderFailure(string name, GrainId grainId, Exception exception) => LogReminderFailure(_log, name, grainId, exception);

    [LoggerMessage(1, LogLevel.Error, "Grain {Grain} let an exception out of an async void method or a posted callback.")]
    private static partial void LogTurnFailure(ILogger log, GrainId grain, Exception exception);

    [LoggerMessage(2, LogLevel.Warning, "Grain {Grain} failed while it was being deactivated.")]
    private static partial void LogDeactivationFailure(ILogger log, GrainId grain, Exception exception);

    [LoggerMessage(3, LogLevel.Error, "A timer of grain {Grain} failed; its next run is a period away.")]
    private static partial void LogTimerFailure(ILogger log, GrainId grain, Exception exception);

    [LoggerMessage(4, LogLevel.Warning, "The one-way call {Method} of grain {Grain} failed.")]
    private static partial void LogOneWayFailure(ILogger log, string method, GrainId grain, Exception exception);

    [LoggerMessage(5, LogLevel.Error, "Reminder {Reminder} of grain {Grain} failed; its next tick is a period away.")]
    private static partial void LogReminderFailure(ILogger log, string reminder, GrainId grain, Exception exception);

    [LoggerMessage(6, LogLevel.Warning, "{Count} activations did not deactivate before the shutdown deadline and were abandoned.")]
    private static partial void LogAbandoned(ILogger log, int count);

    private readonly record struct Binding(GrainClass Class, MakeProxy Make);
}
