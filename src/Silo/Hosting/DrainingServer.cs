using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http.Features;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// The web server with a limit of its own to how long requests in flight may take to end. The host gives one limit to all that it stops: with that alone a client that stalls would take the time of
/// the background work and the grains, which stop after it.
/// </summary>
internal sealed class DrainingServer(IServer inner, StopClock clock) : IServer
{
    public IFeatureCollection Features => inner.Features;

    /// <summary>Puts it around the server that is registered.</summary>
    public static void Add(IServiceCollection services, StopClock clock)
    {
        ServiceDescriptor registered = services.Last(service => service.ServiceType == typeof(IServer));
        services.Remove(registered);
        services.AddSingleton<IServer>(provider => new DrainingServer((IServer)ActivatorUtilities.CreateInstance(provider, registered.ImplementationType!), clock));
    }

    public Task StartAsync<TContext>(IHttpApplication<TContext> application, CancellationToken cancellationToken)
        where TContext : notnull => inner.StartAsync(application, cancellationToken);

    /// <summary>Takes no more requests, waits for those under way as long as the drain timeout says, and cuts off the rest.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        using CancellationTokenSource drained = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        drained.CancelAfter(clock.DrainTimeout);
        await inner.StopAsync(drained.Token);
        clock.Enter("background work and grains");
    }

    public void Dispose() => inner.Dispose();
}
